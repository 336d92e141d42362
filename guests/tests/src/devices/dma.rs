//! A device that writes memory by itself: QEMU's fw_cfg (QEMU, docs/specs/fw_cfg.rst), told where on its bus this guest's
//! RAM is by `dma-ranges` of the bus above it.

use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

use bulkhead_rt::machine::{Range, registers};
use bulkhead_rt::{Machine, cpu, mmio};
use dtoolkit::fdt::FdtNode;
use dtoolkit::standard::NodeStandard;
use dtoolkit::{Node, Property};

use crate::environment::Environment;
use crate::tap::Tap;

/// The register that takes the address of a request, big-endian; its lower half starts it.
const REQUEST: u64 = 0x10;
/// A request's control word: read, after selecting item 0, the signature.
const READ_SIGNATURE: u32 = 1 << 3 | 1 << 1;
/// Bytes of it.
const LENGTH: u32 = 4;
/// The signature.
const SIGNATURE: &[u8; 4] = b"QEMU";

/// A request: control and length, then the address of the data.
#[repr(C, align(16))]
struct Request([AtomicU64; 2]);

static ASKED: Request = Request([const { AtomicU64::new(0) }; 2]);
static DATA: AtomicU64 = AtomicU64::new(0);

/// The bus and the device on it.
fn find(machine: &Machine) -> Option<(FdtNode<'static>, Range)> {
    let mut buses = machine.tree.root().children();
    buses.find_map(|bus| {
        let device = bus
            .children()
            .find(|node| node.is_compatible("qemu,fw-cfg-mmio"))?;
        Some((bus, registers(device, 0)?))
    })
}

/// Where the byte at `address` is on the bus: `dma-ranges` has a bus address, a guest's and a size, two cells each.
fn on_bus(bus: FdtNode<'static>, address: u64) -> Option<u64> {
    let property = bus.property("dma-ranges")?;
    let bytes: &[u8] = property.value_as().ok()?;
    let (entries, _) = bytes.as_chunks::<24>();
    entries.iter().find_map(|entry| {
        let (numbers, _) = entry.as_chunks::<8>();
        let [there, here, size] = [0, 1, 2].map(|index| u64::from_be_bytes(numbers[index]));
        let offset = address.checked_sub(here).filter(|offset| *offset < size)?;
        Some(there + offset)
    })
}

fn request(device: Range, asked: u64, data: u64) {
    let mut first = [0; 8];
    first[..4].copy_from_slice(&READ_SIGNATURE.to_be_bytes());
    first[4..].copy_from_slice(&LENGTH.to_be_bytes());
    ASKED.0[0].store(u64::from_ne_bytes(first), Relaxed);
    ASKED.0[1].store(data.to_be(), Relaxed);
    cpu::data_barrier();
    let [high, low] = [asked >> 32, asked & u64::from(u32::MAX)];
    for (offset, half) in [(0, high), (4, low)] {
        let half = u32::try_from(half).unwrap_or(0);
        mmio::write32(device.base + REQUEST + offset, half.to_be());
    }
    cpu::data_barrier();
}

/// Runs the subject.
pub fn run(tap: &mut Tap, environment: &Environment) {
    let found = find(environment.machine);
    tap.check("the device is on a bus of its own", found.is_some());
    let Some((bus, device)) = found else {
        return;
    };
    let own = [(&raw const ASKED).addr(), DATA.as_ptr().addr()].map(|at| at as u64);
    let [asked, data] = own.map(|address| on_bus(bus, address));
    tap.check(
        "the bus reaches this guest's RAM",
        asked.is_some() && data.is_some(),
    );
    tap.check("which is elsewhere on it", asked != Some(own[0]));
    if let (Some(asked), Some(data)) = (asked, data) {
        request(device, asked, data);
        let bytes = DATA.load(Relaxed).to_ne_bytes();
        tap.equal(
            "what the device writes is there",
            bytes.first_chunk(),
            Some(SIGNATURE),
        );
        let done = ASKED.0[0].load(Relaxed).to_ne_bytes();
        tap.equal("and that it is done", done.first_chunk(), Some(&[0; 4]));
    }
}
