//! A partition restarts with its device's interrupt in every state there is: the next life finds it as after a reset.

use bulkhead_rt::gic::distributor;
use bulkhead_rt::{Machine, hypervisor, println, psci};

use super::{Device, gpio};
use crate::poll;

/// Restarts until it has been started `starts` times: pending in one life, active in the next, its line high in both.
pub fn role(machine: &Machine, starts: u64) {
    let Some(gpio) = Device::find(machine, "arm,pl061") else {
        println!("role: no GPIO");
        return;
    };
    let gic = &machine.gic;
    gic.init_cpu();
    let bits = [distributor::ISENABLER, distributor::ISACTIVER];
    if bits.iter().any(|group| gic.read_bit(*group, gpio.intid)) || gic.priority(gpio.intid) != 0 {
        println!("role: the interrupt is not as after a reset");
        return;
    }
    // Devices are not reset with their partition: the line is as it was left, and says so once it is asked.
    gic.init();
    gpio::prepare(&gpio);
    gic.write_bit(distributor::ICPENDR, gpio.intid);
    gic.enable(gpio.intid);
    if !poll::stays_quiet() {
        println!("role: an interrupt of the last life came");
        return;
    }
    gpio::raise(&gpio);
    let Ok([_, count, _]) = hypervisor::partition_info() else {
        return;
    };
    if count % 2 == 0 && poll::take(gic).is_none() {
        println!("role: the interrupt did not come");
        return;
    }
    println!("role: start {count}");
    if count < starts {
        psci::system_reset();
    }
    println!("role: done");
}
