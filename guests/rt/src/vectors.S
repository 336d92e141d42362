// The exception vectors: every exception saves a Frame on the current EL1 stack and calls
// vectors.rs. Invariant: x0-x30 of the interrupted code come back as the handler leaves them.

.section .text.vectors, "ax"

// One of the sixteen entries. In: the interrupted code's registers.
.macro vector number
.balign {ENTRY_SIZE}
        sub     sp, sp, #{FRAME_SIZE}
        stp     x0, x1, [sp, #{FRAME_X}]
        mov     x0, #\number
        b       rt_exception
.endm

.balign {TABLE_ALIGN}
.global rt_vectors
rt_vectors:
        vector 0
        vector 1
        vector 2
        vector 3
        vector 4
        vector 5
        vector 6
        vector 7
        vector 8
        vector 9
        vector 10
        vector 11
        vector 12
        vector 13
        vector 14
        vector 15

// Completes the frame, calls the dispatcher, restores.
// In: sp = Frame with x0 and x1 saved, x0 = vector number.
rt_exception:
        stp     x2, x3, [sp, #{FRAME_X} + 16 * 1]
        stp     x4, x5, [sp, #{FRAME_X} + 16 * 2]
        stp     x6, x7, [sp, #{FRAME_X} + 16 * 3]
        stp     x8, x9, [sp, #{FRAME_X} + 16 * 4]
        stp     x10, x11, [sp, #{FRAME_X} + 16 * 5]
        stp     x12, x13, [sp, #{FRAME_X} + 16 * 6]
        stp     x14, x15, [sp, #{FRAME_X} + 16 * 7]
        stp     x16, x17, [sp, #{FRAME_X} + 16 * 8]
        stp     x18, x19, [sp, #{FRAME_X} + 16 * 9]
        stp     x20, x21, [sp, #{FRAME_X} + 16 * 10]
        stp     x22, x23, [sp, #{FRAME_X} + 16 * 11]
        stp     x24, x25, [sp, #{FRAME_X} + 16 * 12]
        stp     x26, x27, [sp, #{FRAME_X} + 16 * 13]
        stp     x28, x29, [sp, #{FRAME_X} + 16 * 14]
        mrs     x1, elr_el1
        mrs     x2, spsr_el1
        mrs     x3, esr_el1
        mrs     x4, far_el1
        stp     x30, x1, [sp, #{FRAME_X} + 16 * 15]
        stp     x2, x3, [sp, #{FRAME_SPSR}]
        stp     x4, x0, [sp, #{FRAME_FAR}]
        mov     x0, sp
        bl      {DISPATCH}
        ldr     x2, [sp, #{FRAME_SPSR}]
        ldp     x30, x1, [sp, #{FRAME_X} + 16 * 15]
        msr     spsr_el1, x2
        msr     elr_el1, x1
        ldp     x2, x3, [sp, #{FRAME_X} + 16 * 1]
        ldp     x4, x5, [sp, #{FRAME_X} + 16 * 2]
        ldp     x6, x7, [sp, #{FRAME_X} + 16 * 3]
        ldp     x8, x9, [sp, #{FRAME_X} + 16 * 4]
        ldp     x10, x11, [sp, #{FRAME_X} + 16 * 5]
        ldp     x12, x13, [sp, #{FRAME_X} + 16 * 6]
        ldp     x14, x15, [sp, #{FRAME_X} + 16 * 7]
        ldp     x16, x17, [sp, #{FRAME_X} + 16 * 8]
        ldp     x18, x19, [sp, #{FRAME_X} + 16 * 9]
        ldp     x20, x21, [sp, #{FRAME_X} + 16 * 10]
        ldp     x22, x23, [sp, #{FRAME_X} + 16 * 11]
        ldp     x24, x25, [sp, #{FRAME_X} + 16 * 12]
        ldp     x26, x27, [sp, #{FRAME_X} + 16 * 13]
        ldp     x28, x29, [sp, #{FRAME_X} + 16 * 14]
        ldp     x0, x1, [sp, #{FRAME_X}]
        add     sp, sp, #{FRAME_SIZE}
        eret
