// Counts what each core of the emulated board executes at each exception level: a plugin for QEMU's TCG.
//
// Counts are instructions, not time. What an exception, a barrier or a device costs on silicon is not in them, so
// device accesses, system-register accesses and barriers are counted beside them.
//
// A core is known by MPIDR, not by QEMU's index, which under round-robin TCG is the core's that translated the code.
// While a core has no guest (VTTBR_EL2 is 0) VMPIDR_EL2 still holds its MPIDR; TPIDR_EL2, which the hypervisor points
// to a block for each core, tells it apart from then on. With option `bare` there is no hypervisor, and VMPIDR_EL2 it is.
//
// Options: out=FILE (one line a fact, below), guest=on (count EL0 and EL1 too: slower), bare=on,
// profile=FILE (EL2's instructions by window and address, at the end), skip=N (leave out the first N windows of each id),
// trace=FILE,trace-window=ID (each address of the first window of that id), guest=blocks (count EL0 and EL1 by whole blocks:
// fast, and all cores' go to core 0), waits=AT/AT (addresses of EL2's instructions that wait for another core).
//
//   vectors at=A                 EL2's vector table, at the end: where the image was
//   window ID n=K core=N COUNTS  between HINT #(64 + ID), ID 0..47, and HINT #127, for every core that did anything; K counts
//                                the windows of that id
//   boot core=N COUNTS           for every core, when the first instruction of a guest is about to be executed
//   period core=N window=ID longest=L COUNTS   on one core, from one virtual timer interrupt to the next; ID is the window
//                                then open (255: none), L the instructions of the longest exit
//   exit core=N vector=V class=C detail=D write=W count=K   at the end: exits by cause; D is the IPA of an abort, the
//                                function of a call, the syndrome of a system register
//   total core=N COUNTS          at the end
//   COUNTS: el0= el1= el2= sync= irq= other= device= sysreg= barriers= exclusives= maintenance= waits=
//   From el2 on all are of EL2; sync, irq and other are entries to it.

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// The part of QEMU's plugin interface that is used here (version 4: QEMU 9.2 and later), and of GLib's.

#define PUBLIC __attribute__((visibility("default")))

typedef uint64_t plugin_id;
struct qemu_plugin_tb;
struct qemu_plugin_insn;
struct qemu_plugin_register;
struct qemu_plugin_hwaddr;

typedef struct {
    struct qemu_plugin_register *handle;
    const char *name;
    const char *feature;
} register_description;

typedef struct {
    char *data;
    unsigned len;
} GArray;

typedef struct {
    uint8_t *data;
    unsigned len;
} GByteArray;

GByteArray *g_byte_array_new(void);
GByteArray *g_byte_array_set_size(GByteArray *array, unsigned size);

GArray *qemu_plugin_get_registers(void);
int qemu_plugin_read_register(struct qemu_plugin_register *handle, GByteArray *to);
void qemu_plugin_register_vcpu_init_cb(plugin_id id, void (*call)(plugin_id, unsigned));
void qemu_plugin_register_vcpu_tb_trans_cb(plugin_id id, void (*call)(plugin_id, struct qemu_plugin_tb *));
void qemu_plugin_register_atexit_cb(plugin_id id, void (*call)(plugin_id, void *), void *data);
void qemu_plugin_register_vcpu_tb_exec_cb(struct qemu_plugin_tb *tb, void (*call)(unsigned, void *), int flags,
                                          void *data);
void qemu_plugin_register_vcpu_insn_exec_cb(struct qemu_plugin_insn *insn, void (*call)(unsigned, void *), int flags,
                                            void *data);
void qemu_plugin_register_vcpu_mem_cb(struct qemu_plugin_insn *insn, void (*call)(unsigned, uint32_t, uint64_t, void *),
                                      int flags, int direction, void *data);
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *tb);
uint64_t qemu_plugin_tb_vaddr(const struct qemu_plugin_tb *tb);
struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *tb, size_t index);
size_t qemu_plugin_insn_data(const struct qemu_plugin_insn *insn, void *to, size_t size);
uint64_t qemu_plugin_insn_vaddr(const struct qemu_plugin_insn *insn);
struct qemu_plugin_hwaddr *qemu_plugin_get_hwaddr(uint32_t info, uint64_t vaddr);
bool qemu_plugin_hwaddr_is_io(const struct qemu_plugin_hwaddr *address);

PUBLIC int qemu_plugin_version = 4;

enum { NO_REGISTERS = 0, READS_REGISTERS = 1, READS_AND_WRITES = 3 };

// The board's cores and what is counted of each.

enum { CORES = 8, LEVELS = 4, CAUSES = 2048, WINDOWS = 48, END_MARKER = 127, FIRST_MARKER = 64, NO_WINDOW = 255 };
enum vector { SYNC, IRQ, OTHER, VECTORS };
enum kind { DEVICE, SYSREG, BARRIER, EXCLUSIVE, MAINTENANCE, WAIT, KINDS };

struct counts {
    uint64_t instructions[LEVELS];
    uint64_t entries[VECTORS];
    uint64_t kinds[KINDS];
};

struct cause {
    enum vector vector;
    unsigned class;
    uint64_t detail;
    bool write;
    uint64_t count;
};

struct core {
    struct counts total;
    struct counts window;  // totals at the beginning of the window
    struct counts period;  // totals at the beginning of the period
    uint64_t entry;        // instructions of EL2 at the last entry
    uint64_t longest;      // the longest exit of the period
    uint64_t deadline;     // CNTV_CVAL_EL0 of the period's interrupt; 0 before the first
    struct cause causes[CAUSES];
};

static struct core cores[CORES];
static uint64_t blocks[CORES];  // TPIDR_EL2 by core, 0 where not known yet

static __thread struct core *core = &cores[0];  // whose code runs
static __thread unsigned level;                 // at which exception level

static int window = -1;  // the open window's id
static unsigned ordinals[WINDOWS];  // how many windows of each id have begun
static unsigned skip;  // how many of each id are left out
static uint64_t vectors_at;
static bool count_guest, count_blocks, bare;
static bool booted;  // a guest runs
static uint64_t block_instructions;  // of guests, by whole blocks
static FILE *out, *trace;
static const char *profile;
static int trace_window = -1;
static bool tracing, traced;

// An instruction of EL2 and how often it was executed: in the windows of each id, and outside.
struct place {
    uint64_t address;
    uint32_t counts[WINDOWS + 2];
    struct place *next;
};
static struct place *places;

// Where EL2 waits for another core.
enum { WAITS = 256 };
static uint64_t waits[WAITS];

// Registers.

enum name { CPSR, SP, VMPIDR, TPIDR, VTTBR, VBAR, ESR, FAR, HPFAR, X0, TIMER_CONTROL, TIMER_DEADLINE, NAMES };
static const char *const names[NAMES] = {"cpsr",   "sp", "VMPIDR_EL2", "TPIDR_EL2", "VTTBR_EL2", "VBAR_EL2",   "ESR_EL2",
                                         "FAR_EL2", "HPFAR_EL2", "x0",        "CNTV_CTL_EL0", "CNTV_CVAL_EL0"};
static struct qemu_plugin_register *handles[NAMES];
static __thread GByteArray *bytes;

// The current core's register; 0 if the model has none.
static uint64_t reg(enum name name) {
    uint64_t value = 0;
    if (!handles[name])
        return 0;
    if (!bytes)
        bytes = g_byte_array_new();
    g_byte_array_set_size(bytes, 0);
    int size = qemu_plugin_read_register(handles[name], bytes);
    if (size > 0)
        memcpy(&value, bytes->data, size < 8 ? (size_t)size : 8);
    return value;
}

static unsigned current_level(void) { return reg(CPSR) >> 2 & 3; }

static struct core *current_core(void) {
    // Each core has stacks of its own, so a stack's page tells cores apart, and SP is quicker to read than the others. Before
    // a core has a stack SP is 0.
    enum { PAGE_SHIFT = 12 };
    static uint64_t last;  // the page of the stack of the core whose code ran last
    uint64_t page = reg(SP) >> PAGE_SHIFT;
    if (page != 0 && page == last && !bare)
        return core;
    last = page;
    uint64_t block = reg(TPIDR);
    if (bare || block == 0 || reg(VTTBR) == 0) {
        unsigned number = reg(VMPIDR) & (CORES - 1);
        for (unsigned other = 0; other < CORES; other++)
            if (blocks[other] == block)
                blocks[other] = 0;
        blocks[number] = block;
        return &cores[number];
    }
    for (unsigned number = 0; number < CORES; number++)
        if (blocks[number] == block)
            return &cores[number];
    return &cores[CORES - 1];
}

// Output.

static void print(const char *what, int id, const struct core *of, const struct counts *from) {
    const struct counts *now = &of->total;
    fputs(what, out);
    if (id >= 0)
        fprintf(out, " %d n=%u", id, ordinals[id] - 1);
    fprintf(out, " core=%d", (int)(of - cores));
    for (int l = 0; l < 3; l++)
        fprintf(out, " el%d=%lu", l, now->instructions[l] - from->instructions[l]);
    static const char *const vectors[VECTORS] = {"sync", "irq", "other"};
    for (int v = 0; v < VECTORS; v++)
        fprintf(out, " %s=%lu", vectors[v], now->entries[v] - from->entries[v]);
    static const char *const kinds[KINDS] = {"device",     "sysreg",      "barriers",
                                               "exclusives", "maintenance", "waits"};
    for (int k = 0; k < KINDS; k++)
        fprintf(out, " %s=%lu", kinds[k], now->kinds[k] - from->kinds[k]);
    fputc('\n', out);
}

// Execution.

static void note_cause(enum vector vector) {
    uint64_t esr = vector == SYNC ? reg(ESR) : 0, detail = 0;
    unsigned class = esr >> 26 & 0x3f;
    bool write = false;
    switch (class) {
    case 0x16: case 0x17:  // HVC, SMC
        detail = reg(X0);
        break;
    case 0x18:  // system register: all of the syndrome but the general register
        detail = esr & 0x1ffffff & ~(0x1ful << 5);
        write = !(esr & 1);
        break;
    case 0x20: case 0x24:  // instruction and data abort
        detail = (reg(HPFAR) >> 4 << 12) | (reg(FAR) & 0xfff);
        write = class == 0x24 && (esr >> 6 & 1);
        break;
    }
    for (int i = 0; i < CAUSES; i++) {
        struct cause *cause = &core->causes[i];
        if (cause->count == 0)
            *cause = (struct cause){vector, class, detail, write, 0};
        if (cause->vector == vector && cause->class == class && cause->detail == detail && cause->write == write) {
            cause->count++;
            return;
        }
    }
}

// A period begins with the interrupt of a virtual timer whose deadline is not the last one's.
static void note_period(void) {
    enum { ENABLED_NOT_MASKED_MET = 5, ALL = 7 };
    if ((reg(TIMER_CONTROL) & ALL) != ENABLED_NOT_MASKED_MET)
        return;
    uint64_t deadline = reg(TIMER_DEADLINE);
    if (deadline == core->deadline)
        return;
    if (core->deadline != 0) {
        char what[64];
        snprintf(what, sizeof what, "period window=%d longest=%lu", window < 0 ? NO_WINDOW : window, core->longest);
        print(what, -1, core, &core->period);
    }
    core->deadline = deadline;
    core->longest = 0;
    core->period = core->total;
}

static void begin_block(unsigned index, void *data) {
    (void)index;
    level = (unsigned)(uintptr_t)data;
    core = current_core();
}

// The first block of a vector of lower exception levels. `data`: bits 1:0 the vector.
static void enter(unsigned index, void *data) {
    static const enum vector vectors[4] = {SYNC, IRQ, OTHER, OTHER};
    enum vector vector = vectors[(uintptr_t)data & 3];
    begin_block(index, (void *)2);
    vectors_at = reg(VBAR);
    uint64_t taken = core->total.instructions[2] - core->entry;
    if (core->longest < taken)
        core->longest = taken;
    core->entry = core->total.instructions[2];
    if (vector == IRQ)
        note_period();
    core->total.entries[vector]++;
    note_cause(vector);
}

static int counted_window = WINDOWS + 1;  // the place of the open window's counts: at first, the boot's

static void execute(unsigned index, void *data) {
    (void)index;
    struct place *place = data;
    core->total.instructions[level]++;
    if (level == 2)
        place->counts[counted_window]++;
    if (tracing && level == 2)
        fprintf(trace, "%d %lx\n", (int)(core - cores), place->address);
}

static void is_kind(unsigned index, void *data) {
    (void)index;
    core->total.kinds[(uintptr_t)data]++;
}

static void access(unsigned index, uint32_t info, uint64_t address, void *data) {
    (void)index, (void)data;
    // EL2 maps an address once and for all: what a page is need be asked once.
    enum { PAGE_SHIFT = 12, PAGES = 4096 };
    static struct {
        uint64_t page;
        bool known, is_device;
    } pages[PAGES];
    uint64_t page = address >> PAGE_SHIFT;
    typeof(pages[0]) *of = &pages[page % PAGES];
    if (!of->known || of->page != page) {
        struct qemu_plugin_hwaddr *physical = qemu_plugin_get_hwaddr(info, address);
        *of = (typeof(pages[0])){page, true, physical && qemu_plugin_hwaddr_is_io(physical)};
    }
    if (of->is_device)
        core->total.kinds[DEVICE]++;
}

static void begin_window(unsigned index, void *data) {
    (void)index;
    window = (int)(intptr_t)data;
    if (ordinals[window]++ >= skip)
        counted_window = window;
    for (int i = 0; i < CORES; i++)
        cores[i].window = cores[i].total;
    tracing = trace && window == trace_window && !traced;
}

static void end_window(unsigned index, void *data) {
    (void)index, (void)data;
    if (window < 0)
        return;
    for (int i = 0; i < CORES && counted_window == window; i++)
        if (memcmp(&cores[i].window, &cores[i].total, sizeof cores[i].total) != 0)
            print("window", window, &cores[i], &cores[i].window);
    if (tracing) {
        tracing = false;
        traced = true;
        fflush(trace);
    }
    window = -1;
    counted_window = WINDOWS;
}

// Translation.

static bool marker(uint32_t op, struct qemu_plugin_insn *insn) {
    if ((op & 0xfffff01f) != 0xd503201f)  // HINT
        return false;
    unsigned hint = op >> 5 & 0x7f;
    if (hint == END_MARKER)
        qemu_plugin_register_vcpu_insn_exec_cb(insn, end_window, NO_REGISTERS, NULL);
    else if (hint >= FIRST_MARKER && hint < FIRST_MARKER + WINDOWS)
        qemu_plugin_register_vcpu_insn_exec_cb(insn, begin_window, NO_REGISTERS, (void *)(intptr_t)(hint - FIRST_MARKER));
    else
        return false;
    return true;
}

static int kind_of(uint32_t op) {
    if ((op & 0xffd00000) == 0xd5100000)  // MRS, MSR (register)
        return SYSREG;
    if ((op & 0xfffff01f) == 0xd503301f)  // DSB, DMB, ISB
        return BARRIER;
    if ((op & 0xfff80000) == 0xd5080000)  // SYS: cache, TLB, address translation
        return MAINTENANCE;
    if ((op & 0x3f000000) == 0x08000000)  // exclusives, load-acquire, store-release
        return EXCLUSIVE;
    return -1;
}

static bool is_wait(uint64_t address) {
    for (int i = 0; i < WAITS && waits[i]; i++)
        if (address == waits[i])
            return true;
    return false;
}

static void translate_insn(struct qemu_plugin_insn *insn, bool el2) {
    uint32_t op = 0;
    qemu_plugin_insn_data(insn, &op, sizeof op);
    if (marker(op, insn) || !(el2 || count_guest))
        return;
    struct place *place = calloc(1, sizeof *place);
    if (!place)
        abort();
    place->address = qemu_plugin_insn_vaddr(insn);
    if (el2) {
        place->next = places;
        places = place;
    }
    qemu_plugin_register_vcpu_insn_exec_cb(insn, execute, NO_REGISTERS, place);
    if (!el2)
        return;
    qemu_plugin_register_vcpu_mem_cb(insn, access, NO_REGISTERS, READS_AND_WRITES, NULL);
    int kind = kind_of(op);
    if (kind >= 0)
        qemu_plugin_register_vcpu_insn_exec_cb(insn, is_kind, NO_REGISTERS, (void *)(intptr_t)kind);
    if (is_wait(place->address))
        qemu_plugin_register_vcpu_insn_exec_cb(insn, is_kind, NO_REGISTERS, (void *)(intptr_t)WAIT);
}

static void count_block(unsigned index, void *data) {
    (void)index;
    block_instructions += (uintptr_t)data;
}

// A guest's first instruction comes next.
static void end_boot(void) {
    static const struct counts none;
    booted = true;
    counted_window = WINDOWS;
    for (int i = 0; i < CORES; i++)
        if (memcmp(&none, &cores[i].total, sizeof none) != 0)
            print("boot", -1, &cores[i], &none);
}

// The exception level is part of what QEMU translates for, so it is known here.
static void translate(plugin_id id, struct qemu_plugin_tb *tb) {
    (void)id;
    unsigned at = current_level();
    bool el2 = at == 2;
    if (at < 2 && !booted)
        end_boot();
    if (el2) {
        uint64_t offset = qemu_plugin_tb_vaddr(tb) - reg(VBAR);
        bool vector = offset >= 0x400 && offset < 0x800 && offset % 0x80 == 0;
        if (vector)
            qemu_plugin_register_vcpu_tb_exec_cb(tb, enter, READS_REGISTERS, (void *)(uintptr_t)(offset >> 7));
        else
            qemu_plugin_register_vcpu_tb_exec_cb(tb, begin_block, READS_REGISTERS, (void *)(uintptr_t)at);
    } else if (count_guest) {
        qemu_plugin_register_vcpu_tb_exec_cb(tb, begin_block, READS_REGISTERS, (void *)(uintptr_t)at);
    }
    size_t count = qemu_plugin_tb_n_insns(tb);
    if (at < 2 && count_blocks)
        qemu_plugin_register_vcpu_tb_exec_cb(tb, count_block, NO_REGISTERS, (void *)count);
    for (size_t i = 0; i < count; i++)
        translate_insn(qemu_plugin_tb_get_insn(tb, i), el2);
}

// Beginning and end.

static void find_registers(plugin_id id, unsigned index) {
    (void)id, (void)index;
    GArray *all = qemu_plugin_get_registers();
    register_description *descriptions = (register_description *)all->data;
    for (unsigned i = 0; i < all->len; i++)
        for (int name = 0; name < NAMES; name++)
            if (strcmp(descriptions[i].name, names[name]) == 0)
                handles[name] = descriptions[i].handle;
}

static void finish(plugin_id id, void *data) {
    (void)id, (void)data;
    static const struct counts none;
    fprintf(out, "vectors at=%#lx\n", vectors_at);
    cores[0].total.instructions[1] += block_instructions;
    for (int i = 0; i < CORES; i++) {
        for (int j = 0; j < CAUSES && cores[i].causes[j].count; j++) {
            const struct cause *cause = &cores[i].causes[j];
            fprintf(out, "exit core=%d vector=%d class=%#x detail=%#lx write=%d count=%lu\n", i, cause->vector,
                    cause->class, cause->detail, cause->write, cause->count);
        }
        if (memcmp(&none, &cores[i].total, sizeof none) != 0)
            print("total", -1, &cores[i], &none);
    }
    fclose(out);
    if (trace)
        fclose(trace);
    FILE *file = profile ? fopen(profile, "w") : NULL;
    if (!file)
        return;
    for (struct place *place = places; place; place = place->next)
        for (int id = 0; id <= WINDOWS + 1; id++)
            if (place->counts[id])
                fprintf(file, "%d %lx %u\n", id, place->address, place->counts[id]);
    fclose(file);
}

static FILE *create(const char *path) {
    FILE *file = fopen(path, "w");
    if (!file) {
        perror(path);
        exit(1);
    }
    setvbuf(file, NULL, _IOLBF, 0);
    return file;
}

// Reads AT/AT, hexadecimal.
static void read_waits(char *text) {
    for (int i = 0; i < WAITS && *text; i++) {
        waits[i] = strtoul(text, &text, 16);
        if (*text)
            text++;
    }
}

PUBLIC int qemu_plugin_install(plugin_id id, const void *info, int argc, char **argv) {
    (void)info;
    out = stderr;
    for (int i = 0; i < argc; i++) {
        char *value = strchr(argv[i], '=');
        if (!value)
            return 1;
        *value++ = 0;
        bool on = strcmp(value, "on") == 0;
        if (strcmp(argv[i], "out") == 0)
            out = create(value);
        else if (strcmp(argv[i], "trace") == 0)
            trace = create(value);
        else if (strcmp(argv[i], "profile") == 0)
            profile = strdup(value);
        else if (strcmp(argv[i], "trace-window") == 0)
            trace_window = atoi(value);
        else if (strcmp(argv[i], "skip") == 0)
            skip = (unsigned)atoi(value);
        else if (strcmp(argv[i], "guest") == 0) {
            count_guest = on;
            count_blocks = strcmp(value, "blocks") == 0;
        } else if (strcmp(argv[i], "waits") == 0)
            read_waits(value);
        else if (strcmp(argv[i], "bare") == 0)
            bare = on;
        else {
            fprintf(stderr, "counts: no option %s\n", argv[i]);
            return 1;
        }
    }
    qemu_plugin_register_vcpu_init_cb(id, find_registers);
    qemu_plugin_register_vcpu_tb_trans_cb(id, translate);
    qemu_plugin_register_atexit_cb(id, finish, NULL);
    return 0;
}
