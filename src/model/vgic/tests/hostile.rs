//! What the model says of registers it need not be folded for.

use super::*;

#[test]
fn what_never_reaches_needs_no_fold() {
    for version in [GicVersion::V2, GicVersion::V3] {
        let mut vgic = Vgic::new(&Config {
            version,
            vcpus: 4,
            list_registers: 4,
            priority_bits: 5,
            deactivation: Deactivation::Hardware,
        });
        vgic.own(27, Source::Physical { edge: false });
        vgic.own(33, Source::Level);
        let table = DirectTable::new();
        vgic.reset(&mut Effects::new(&table));
        let vcpu = VcpuId::new(1);
        for frame in [Frame::Distributor, Frame::Redistributor(VcpuId::new(2))] {
            for offset in crate::words::effort::some((0..0x2_0000).step_by(4), 4_001) {
                if Vgic::never_reaches(frame, offset) {
                    let reach = vgic.reach(vcpu, frame, offset);
                    assert_eq!(reach, Reach::None, "{frame:?} {offset:#x}");
                }
            }
        }
    }
}
