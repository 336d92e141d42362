//! Devices: their registers and their interrupts.

use super::*;

#[test]
#[cfg_attr(
    miri,
    ignore = "one of many whole boards' trees, each of which takes an interpreter many seconds"
)]
fn a_device_has_its_registers_and_interrupts_at_the_gic() {
    let tree = Virt::default().build();
    let pl061 = device(&tree, "/pl061@9030000").unwrap();
    assert_eq!(pl061.path.as_str(), "/pl061@9030000");
    assert_eq!(pl061.compatible, "arm,pl061");
    assert_eq!(pl061.registers.as_slice(), [range(0x903_0000, 0x1000)]);
    let line = Interrupt {
        intid: 39,
        trigger: Trigger::Level,
    };
    assert_eq!(pl061.interrupts.as_slice(), [line]);
    assert_eq!(pl061.dma, Dma::Never);
    assert!(pl061.enabled && !pl061.unmapped && !pl061.indirect_interrupts);
    let virtio = device(&tree, "/virtio_mmio@a000000").unwrap();
    assert_eq!(virtio.interrupts[0].trigger, Trigger::Edge);
    assert!(matches!(virtio.dma, Dma::Master(DmaReason::Known(_))));
    assert!(device(&tree, "/pl061@9030001").is_err());
    assert!(device(&tree, "pl061@9030000").is_err());
}

#[test]
fn a_pci_bridge_has_the_interrupts_of_its_map_once_each() {
    let tree = Virt::default().build();
    let pcie = device(&tree, "/pcie@10000000").unwrap();
    let intids: Vec<_> = pcie.interrupts.iter().map(|line| line.intid).collect();
    assert_eq!(intids, [35, 36]);
    assert!(matches!(pcie.dma, Dma::Master(_)));
}

#[test]
#[cfg_attr(
    miri,
    ignore = "one of many whole boards' trees, each of which takes an interpreter many seconds"
)]
fn what_a_bus_hides_is_marked_and_not_guessed() {
    let tree = pi(&PI_MEMORY);
    let rtc = device(&tree, "/soc/i2c@7e804000/rtc@68").unwrap();
    assert!(rtc.unmapped && rtc.registers.is_empty());
    assert_eq!(rtc.dma, Dma::Unknown);
    let hdmi = device(&tree, "/soc/hdmi@7ef00700").unwrap();
    assert_eq!(hdmi.registers.as_slice(), [range(0xfef0_0700, 0x300)]);
    assert!(hdmi.unmapped, "its second range is in no window of the bus");
    assert!(hdmi.indirect_interrupts && hdmi.interrupts.is_empty());
    let soc = device(&tree, "/soc").unwrap();
    assert_eq!(soc.dma, Dma::Master(DmaReason::DmaRanges));
    let mailbox = device(&tree, "/soc/mailbox@7e00b880").unwrap();
    assert!(matches!(mailbox.dma, Dma::Master(DmaReason::Known(_))));
    let off = device(&tree, "/soc/serial@7e201400").unwrap();
    assert!(!off.enabled);
}

#[test]
#[cfg_attr(
    miri,
    ignore = "one of many whole boards' trees, each of which takes an interpreter many seconds"
)]
fn two_uarts_of_the_pi_share_a_page_and_an_interrupt() {
    let tree = pi(&PI_MEMORY);
    let all: Vec<_> = devices(&tree).unwrap().map(Result::unwrap).collect();
    let uarts: Vec<_> = all.iter().filter(|d| d.compatible == "arm,pl011").collect();
    assert_eq!(uarts.len(), 2);
    assert_eq!(uarts[0].interrupts, uarts[1].interrupts);
    let page = |index: usize| uarts[index].registers[0].base().align_down(4096);
    assert_eq!(page(0), page(1));
    assert!(all.iter().all(|d| !d.path.as_str().starts_with("/cpus")));
    assert!(all.iter().all(|d| !d.path.as_str().starts_with("/memory")));
}
