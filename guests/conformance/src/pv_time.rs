//! Paravirtualized time 1.0 (Arm DEN0057): a partition that owns its CPUs loses no time, so the service is not there.

use bulkhead_rt::abi::{pv_time as id, smccc};

use crate::suite::{Suite, call, expect};

const FEATURES: &str = "DEN0057 PV_TIME_FEATURES";
const ST: &str = "DEN0057 PV_TIME_ST";

/// Checks the service.
pub fn run(suite: &mut Suite) {
    suite.each(
        FEATURES,
        "PV_TIME_FEATURES is NOT_SUPPORTED for every function where CPUs are owned alone",
        |_, with| {
            [id::FEATURES, id::ST, 0xc500_0022, 0]
                .into_iter()
                .try_for_each(|function| {
                    let code = call(with, id::FEATURES, &[u64::from(function)]).code();
                    expect(function, code, -1)
                })
        },
    );
    suite.each(FEATURES, "SMCCC_ARCH_FEATURES says the same", |_, with| {
        let code = call(with, smccc::ARCH_FEATURES, &[u64::from(id::FEATURES)]).code();
        expect(id::FEATURES, code, -1)
    });
    suite.each(ST, "PV_TIME_ST is NOT_SUPPORTED with it", |_, with| {
        expect(id::ST, call(with, id::ST, &[]).code(), -1)
    });
}
