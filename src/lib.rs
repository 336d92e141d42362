//! # Bulkhead
//!
//! A hypervisor that divides an ARMv8-A board into partitions that cannot sink each other. This page is its architecture;
//! each module's page goes on from here.
//!
//! ## What it is
//! One image, entered at EL2 by whatever boots the board, with the board's device tree in x0 and a *bundle* as initial
//! ramdisk. It learns the board from the tree ([`model::board`]), the system from the bundle ([`model::bundle`]), gives
//! each partition RAM ([`model::placement`]), stage-2 tables ([`model::translation`]), a virtual GIC ([`model::vgic`]) and a
//! virtual UART ([`model::pl011`]), and runs each vCPU on a physical CPU of its own. There is no scheduler, no heap and no
//! privileged guest: a core runs its vCPU until the vCPU exits, sees to the exit, and goes back.
//!
//! ## Layers
//!
//! | layer | module | what | may use |
//! |---|---|---|---|
//! | 0 | [`words`] | addresses that do not mix, identifiers, limits | `core` |
//! | 1 | [`arm`] | the architecture as data: syndromes, control values, ID registers, list registers | 0 |
//! | 2 | [`model`] | pure state machines and readers; siblings know nothing of each other | 0, 1 |
//! | 3 | [`behaviour`] | what an exit leads to: dispatch, hypercalls, emulated registers, life cycle | 0 to 2 |
//! | 4 | `edge` | assembly, registers, caches, TLBs, the physical GIC, UARTs: the only place that says `unsafe` | 0, 1, the core's traits |
//! | 5 | `program` | boot order, the loop of each core, panics | all |
//!
//! Layers 0 to 3 are values in, values out. They forbid `unsafe`, have no statics and name no target, so the host builds
//! and tests them; the edge exists for `target_os = "none"` only, and a pure module that named it would not compile on the
//! host. Hardware work leaves the models as lists of effects; where behaviour needs the core it runs on, it asks a
//! [`Machine`](behaviour::machine::Machine), which tests fake.
//!
//! ## The way of an exit
//! 1. `edge/vectors.S` saves the registers a callee may change, and calls the *short path* (`program::short`): a physical
//!    interrupt that the virtual GIC's table ([`model::vgic::DirectTable`]) lets through goes into a list register, and the
//!    guest goes on. No lock, no model.
//! 2. Anything else leaves the guest: the other registers are saved, and `Context::enter` *returns* to the core's loop
//!    (`program::core`), which matches on why.
//! 3. [`behaviour::exit`] decides: a hypercall, an emulated register, a trapped system register, or an exception that the
//!    guest takes at its own EL1. What nobody knows is UNDEFINED or an external abort, in the guest.
//!
//! ## Interrupts
//! A physical interrupt of a partition's own device or timer is acknowledged by EL2 and stays active until the guest ends
//! it through a list register (or EL2 does, where the controller cannot: found by a test at boot, `edge::gic`). Virtual
//! interrupts are in the model or in a core's list registers, never in both: *fold* brings them back, *fill* takes them
//! out. A register access that must see what another core's list registers hold calls that core in
//! ([`model::quiesce`]).
//!
//! ## Devices
//! A device is a node of the board's tree with all below it, and belongs to one partition or to nobody. [`model::share`]
//! decides at boot what a partition gets, by the board's tree alone, and refuses the system if a page of registers or an
//! interrupt had two owners, was the hypervisor's, or belonged to something that may write memory and is not allowed to.
//!
//! - Registers: whole pages, device memory, never executable, at the address the board has them at; where the guest's
//!   own RAM, GIC, UART or channels are, above its RAM instead.
//! - Interrupts: SPIs under their own numbers, in the partition's virtual GIC; level or edge as the tree says, until the guest
//!   says otherwise; routed to the core of the vCPU the guest routes them to, into a list register by the short path.
//! - Nodes: copied into the guest's tree ([`model::board::copy`]) as children of the root, with the guest's addresses, its
//!   GIC and phandles of their own. A clock that stays the board's becomes one of a fixed rate; another reference to what the
//!   guest does not have is left out.
//! - Life: at a stop and before a start the interrupts are disabled, and neither pending nor active. The device itself is
//!   not reset, since nobody here knows how: its next owner finds it as it was left.
//!
//! DMA goes past stage 2: a master is handed over only where the bundle says `dma-unconfined`, and sees physical addresses.
//! Its node is on a bus of its own whose `dma-ranges` says where on it the guest's RAM is.
//!
//! ## Locks
//! A core's own state is not locked. A partition's cores share its virtual GIC and its UART, each behind a spin lock of
//! its own, never held while a guest runs, never taken by another partition's core. The UART's lock may be held
//! while the virtual GIC's is taken, not the other way round. The console's lock is taken with `try_lock` only and
//! last: whoever finds it busy leaves a note, and the holder kicks him afterwards ([`model::console`]).
//!
//! ## Life
//! A partition is loaded by the core of its vCPU 0: RAM zeroed, payloads hashed and copied, tree written, interrupts reset.
//! It stops when its guest asks for it or crashes: its cores are called in, park, and the same core starts it again if
//! policy says so ([`behaviour::lifecycle`]). Nobody waits for a guest: a kick brings its core to EL2. A stop by a fault
//! leaves a record ([`behaviour::crash`]) with the last exits out of the core's flight recorder ([`model::recorder`]); a guest
//! that loops in its own vectors and never exits is found by its silence ([`model::watch`]).
//!
//! ## The monitor
//! Ctrl-] at the board's terminal opens it: keys become lines ([`model::monitor`]), `program::monitor` carries them out, on
//! the core that has the console, a core without a vCPU where there is one. It is a speaker of its own on the console, and no
//! guest can reach it. `trace` dumps the flight recorders for `cargo xtask trace`.
//!
//! Before any of that a self-test may look at the board, a line for each thing found ([`model::selftest`]). When no
//! partition runs any more, or the manager of all others asks for it, the board is switched off or reset by what its tree
//! offers: PSCI, or the BCM2835's watchdog (`program::power`).
//!
//! ## Errors
//! The guest's mistake ends in that guest. A bad bundle, tree or board refuses to boot and names the place. Our own
//! mistake panics, and the panic names itself; an exception at EL2 prints its registers and the calls under way on the core's
//! fault stack (`cargo xtask symbolize` names them). Either costs that core and its partition; if it had the console,
//! another takes it.
#![cfg_attr(not(any(test, fuzzing)), no_std)]

#[forbid(unsafe_code)]
pub mod arm;
#[forbid(unsafe_code)]
pub mod behaviour;
#[cfg(target_os = "none")]
pub mod edge;
#[cfg(all(loom, test))]
#[forbid(unsafe_code)]
mod interleavings;
#[forbid(unsafe_code)]
pub mod model;
#[cfg(target_os = "none")]
#[forbid(unsafe_code)]
pub mod program;
#[cfg(any(test, fuzzing))]
#[forbid(unsafe_code)]
pub mod properties;
#[forbid(unsafe_code)]
pub mod words;
