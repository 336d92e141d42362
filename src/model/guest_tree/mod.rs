//! Writes the device tree a guest sees: the one virtual machine, on every board (hypercalls.md, section 4).

use bulkhead_abi::layout;
use thiserror::Error;

use crate::words::limits::MAX_VCPUS;
use crate::words::{Ipa, Nodes, PAGE_SIZE, PartitionId};

mod fixed;
mod writer;

use fixed::{Aligned, Name, Part, part};
use writer::{CELL, Writer};

/// The GIC's phandle.
pub const GIC: u32 = 1;
/// The UART clock's phandle.
const CLOCK: u32 = 2;
/// The UART clock: what a PL011's baud rate divisors are computed from; nothing here runs at it.
const CLOCK_HERTZ: u32 = 24_000_000;
/// Interrupt specifiers (Linux, `interrupt-controller/arm,gic.yaml`): the kind SPI, and its first INTID.
const SPI: (u32, u32) = (0, 32);
/// The kind PPI, and its first INTID.
const PPI: (u32, u32) = (1, 16);
/// Flag: a rising edge.
const EDGE: u32 = 1;
/// Flag: a high level.
const HIGH: u32 = 4;
/// First bit of a GICv2 PPI's mask of CPUs.
const PPI_CPUS_SHIFT: u32 = 8;
/// Bytes of a 64-bit number.
const LONG: usize = 2 * CELL;
/// Bytes of an interrupt specifier.
const SPECIFIER: usize = 3 * CELL;
/// INTIDs past the last SPI.
const INTID_END: u32 = 1020;

/// What varies in the virtual machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GuestTree<'a> {
    /// The partition.
    pub id: PartitionId,
    /// Its name.
    pub name: &'a str,
    /// The interrupt controller it sees.
    pub gic: GuestGic,
    /// Its vCPUs, at least one.
    pub vcpus: u8,
    /// Its bytes of RAM.
    pub memory: u64,
    /// Its command line.
    pub bootargs: &'a str,
    /// Where its initial ramdisk lies, and its bytes.
    pub initrd: Option<(Ipa, u64)>,
    /// Its ends of channels.
    pub channels: &'a [GuestChannel<'a>],
    /// INTID of its PMU's overflow interrupt, a PPI, if it has the PMU.
    pub pmu: Option<u32>,
}

/// The interrupt controller a guest sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GuestGic {
    /// `arm,cortex-a15-gic`.
    V2,
    /// `arm,gic-v3`.
    V3,
}

/// One end of a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GuestChannel<'a> {
    /// The channel's name.
    pub name: &'a str,
    /// Where the shared memory lies; the doorbell's page follows it.
    pub ipa: Ipa,
    /// Bytes of shared memory, whole pages.
    pub size: u64,
    /// INTID of this end's doorbell, an SPI.
    pub intid: u32,
    /// Whether this end may write.
    pub writable: bool,
}

/// Why no tree was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum TreeError {
    /// `out` is too small.
    #[error("the device tree does not fit its room of {0} bytes")]
    NoRoom(usize),
    /// No vCPU, or more than there can be.
    #[error("{0} vCPUs are not from 1 to 8")]
    Vcpus(u8),
    /// An INTID that is neither a PPI nor an SPI.
    #[error("{0} is not the INTID of a PPI or SPI")]
    Intid(u32),
    /// A channel that reaches past the last address.
    #[error("a channel at {0} reaches past the last address")]
    Channel(Ipa),
    /// The board's tree, where its devices' nodes come from, cannot be read.
    #[error("the board's tree cannot be read")]
    Board,
}

/// Adds nodes of the board's devices; `false` if they cannot be had.
pub type Devices<'d> = dyn Fn(&mut dyn Nodes) -> bool + 'd;

/// Writes the tree, with the nodes that `devices` adds at its root, to the front of `out` and gives its length in bytes. What was
/// zero behind it stays zero.
///
/// # Errors
/// `NoRoom` if `out` is too small; the others name a value that describes no machine.
pub fn write(
    tree: &GuestTree<'_>,
    devices: &Devices<'_>,
    out: &mut [u8],
) -> Result<usize, TreeError> {
    let room = out.len();
    if tree.vcpus == 0 || usize::from(tree.vcpus) > MAX_VCPUS {
        return Err(TreeError::Vcpus(tree.vcpus));
    }
    let mut writer = Writer::new(out);
    root(&mut writer, tree, devices)?;
    writer.finish().ok_or(TreeError::NoRoom(room))
}

fn root(w: &mut Writer<'_>, tree: &GuestTree<'_>, devices: &Devices<'_>) -> Result<(), TreeError> {
    chosen(w, tree);
    memory(w, tree);
    cpus(w, tree);
    timer(w, tree)?;
    gic(w, tree);
    if let Some(intid) = tree.pmu {
        pmu(w, tree, intid)?;
    }
    hypervisor(w, tree);
    for channel in tree.channels {
        self::channel(w, tree, channel)?;
    }
    if !devices(w) {
        return Err(TreeError::Board);
    }
    w.end();
    Ok(())
}

/// The root's beginning, up to `chosen`.
fn chosen(w: &mut Writer<'_>, tree: &GuestTree<'_>) {
    w.part(part!(
        Part::new()
            .begin("")
            .strings("compatible", &["bulkhead,machine-1.0"])
            .strings("model", &["Bulkhead partition"])
            .cells("#address-cells", &[2])
            .cells("#size-cells", &[2])
            .cells("interrupt-parent", &[GIC])
            .begin("aliases")
            .path("serial0", "pl011", layout::UART_BASE)
            .end()
            .begin("chosen")
    ));
    w.string(const { Name::of("bootargs") }, tree.bootargs);
    w.part(part!(Part::new().path(
        "stdout-path",
        "pl011",
        layout::UART_BASE
    )));
    if let Some((start, size)) = tree.initrd {
        w.part(part!(Part::new().property("linux,initrd-start", LONG)));
        w.longs(&[start.get()]);
        w.part(part!(Part::new().property("linux,initrd-end", LONG)));
        w.longs(&[start.get().saturating_add(size)]);
    }
    w.end();
}

fn memory(w: &mut Writer<'_>, tree: &GuestTree<'_>) {
    w.part(part!(
        Part::new()
            .begin_at("memory", layout::RAM_BASE)
            .strings("device_type", &["memory"])
            .property("reg", 2 * LONG)
            .longs(&[layout::RAM_BASE])
    ));
    w.longs(&[tree.memory]);
    w.end();
}

fn cpus(w: &mut Writer<'_>, tree: &GuestTree<'_>) {
    w.part(part!(
        Part::new()
            .begin("cpus")
            .cells("#address-cells", &[1])
            .cells("#size-cells", &[0])
    ));
    for vcpu in 0..tree.vcpus {
        w.begin("cpu", Some(u64::from(vcpu)));
        w.part(part!(
            Part::new()
                .strings("device_type", &["cpu"])
                .strings("compatible", &["arm,armv8"])
                .property("reg", CELL)
        ));
        w.cells(&[u32::from(vcpu)]);
        w.part(part!(Part::new().strings("enable-method", &["psci"]).end()));
    }
    w.end();
}

/// `psci` and `timer`.
fn timer(w: &mut Writer<'_>, tree: &GuestTree<'_>) -> Result<(), TreeError> {
    let intids = [
        layout::TIMER_SECURE_INTID,
        layout::TIMER_PHYSICAL_INTID,
        layout::TIMER_VIRTUAL_INTID,
        layout::TIMER_HYPERVISOR_INTID,
    ];
    let [secure, physical, virt, hypervisor] = intids.map(|intid| specifier(tree, intid, HIGH));
    let interrupts = [secure?, physical?, virt?, hypervisor?];
    w.part(part!(
        Part::new()
            .begin("psci")
            .strings("compatible", &["arm,psci-1.0", "arm,psci-0.2"])
            .strings("method", &["hvc"])
            .end()
            .begin("timer")
            .strings("compatible", &["arm,armv8-timer"])
            .property("interrupts", 4 * SPECIFIER)
    ));
    w.cells(interrupts.as_flattened());
    w.part(part!(Part::new().flag("always-on").end()));
    Ok(())
}

/// The interrupt controller, the UART's clock and the UART.
fn gic(w: &mut Writer<'_>, tree: &GuestTree<'_>) {
    let (kind, second) = match tree.gic {
        GuestGic::V2 => (
            part!(intc("arm,cortex-a15-gic", layout::GICC_BASE)),
            layout::GICC_SIZE,
        ),
        GuestGic::V3 => (
            part!(intc("arm,gic-v3", layout::GICR_BASE)),
            layout::GICR_STRIDE * u64::from(tree.vcpus),
        ),
    };
    w.part(kind);
    w.longs(&[second]);
    w.part(part!(
        Part::new()
            .cells("phandle", &[GIC])
            .end()
            .begin("apb-pclk")
            .strings("compatible", &["fixed-clock"])
            .cells("#clock-cells", &[0])
            .cells("clock-frequency", &[CLOCK_HERTZ])
            .strings("clock-output-names", &["clk24mhz"])
            .cells("phandle", &[CLOCK])
            .end()
            .begin_at("pl011", layout::UART_BASE)
            .strings("compatible", &["arm,pl011", "arm,primecell"])
            .property("reg", 2 * LONG)
            .longs(&[layout::UART_BASE, layout::UART_SIZE])
            .cells("interrupts", &[SPI.0, layout::UART_INTID - SPI.1, HIGH])
            .cells("clocks", &[CLOCK, CLOCK])
            .strings("clock-names", &["uartclk", "apb_pclk"])
            .end()
    ));
}

/// An interrupt controller's node up to the size of its second range of registers, which is at `second`.
const fn intc<const N: usize>(kind: &str, second: u64) -> Part<N> {
    Part::new()
        .begin_at("intc", layout::GICD_BASE)
        .strings("compatible", &[kind])
        .cells("#interrupt-cells", &[3])
        .cells("#address-cells", &[0])
        .flag("interrupt-controller")
        .property("reg", 4 * LONG)
        .longs(&[layout::GICD_BASE, layout::GICD_SIZE, second])
}

fn pmu(w: &mut Writer<'_>, tree: &GuestTree<'_>, intid: u32) -> Result<(), TreeError> {
    let interrupt = specifier(tree, intid, HIGH)?;
    w.part(part!(
        Part::new()
            .begin("pmu")
            .strings("compatible", &["arm,armv8-pmuv3"])
            .property("interrupts", SPECIFIER)
    ));
    w.cells(&interrupt);
    w.end();
    Ok(())
}

fn hypervisor(w: &mut Writer<'_>, tree: &GuestTree<'_>) {
    w.part(part!(
        Part::new()
            .begin("hypervisor")
            .strings(
                "compatible",
                &["bulkhead,hypervisor-1.0", "bulkhead,hypervisor"]
            )
            .strings("method", &["hvc"])
            .property("bulkhead,partition-id", CELL)
    ));
    w.cells(&[u32::from(tree.id.get())]);
    w.string(const { Name::of("bulkhead,partition") }, tree.name);
    w.end();
}

/// One end of a channel: the memory, then the page whose first word rings the other end's doorbell.
fn channel(
    w: &mut Writer<'_>,
    tree: &GuestTree<'_>,
    channel: &GuestChannel<'_>,
) -> Result<(), TreeError> {
    let interrupt = specifier(tree, channel.intid, EDGE)?;
    let doorbell = channel.ipa.checked_add(channel.size);
    let doorbell = doorbell.ok_or(TreeError::Channel(channel.ipa))?;
    w.begin("channel", Some(channel.ipa.get()));
    w.part(part!(
        Part::new()
            .strings("compatible", &["bulkhead,channel-1.0", "generic-uio"])
            .property("reg", 4 * LONG)
    ));
    w.longs(&[channel.ipa.get(), channel.size, doorbell.get(), PAGE_SIZE]);
    w.part(part!(
        Part::new()
            .strings("reg-names", &["memory", "doorbell"])
            .property("interrupts", SPECIFIER)
    ));
    w.cells(&interrupt);
    w.string(const { Name::of("label") }, channel.name);
    w.string(const { Name::of("linux,uio-name") }, channel.name);
    if !channel.writable {
        w.part(part!(Part::new().flag("bulkhead,read-only")));
    }
    w.end();
    Ok(())
}

/// The three cells that name interrupt `intid`; a GICv2's PPI also carries the mask of CPUs that have it.
fn specifier(tree: &GuestTree<'_>, intid: u32, trigger: u32) -> Result<[u32; 3], TreeError> {
    let (kind, first) = match intid {
        16..32 => PPI,
        32..INTID_END => SPI,
        _ => return Err(TreeError::Intid(intid)),
    };
    let every_cpu = !(u32::MAX << tree.vcpus) << PPI_CPUS_SHIFT;
    let cpus = match tree.gic {
        GuestGic::V2 if intid < 32 => every_cpu,
        GuestGic::V2 | GuestGic::V3 => 0,
    };
    Ok([kind, intid - first, cpus | trigger])
}

#[cfg(test)]
mod tests;
