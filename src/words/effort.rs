//! How much a test tries: everything, or what an interpreter has time for. Miri takes a thousand times as long as a core, and
//! looks for what any single case shows: undefined behaviour, overflow, races. What needs many cases is found without it.

use proptest::test_runner::{Config, RngAlgorithm};

/// Random cases under Miri.
const FEW: u32 = 1;

/// Runs `usual` random cases of each property: `PROPTEST_CASES` instead, if that is set, and few under Miri.
pub fn cases(usual: u32) -> Config {
    let asked = std::env::var("PROPTEST_CASES")
        .ok()
        .and_then(|cases| cases.parse().ok());
    let usual = if cfg!(miri) { FEW } else { usual };
    let mut config = Config::with_cases(asked.unwrap_or(usual));
    if cfg!(miri) {
        // The usual one is a cipher: interpreted, it takes longer than what is tested.
        config.rng_algorithm = RngAlgorithm::XorShift;
    }
    config
}

/// Gives all of `all`; under Miri the first, and every `stride`th after it.
pub fn some<I: IntoIterator>(all: I, stride: usize) -> impl Iterator<Item = I::Item> {
    all.into_iter().step_by(if cfg!(miri) { stride } else { 1 })
}

/// How often something is done: `usual` times, `few` under Miri.
pub const fn times(usual: usize, few: usize) -> usize {
    if cfg!(miri) { few } else { usual }
}
