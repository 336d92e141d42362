//! The log's macros, each a call: those of the crate of this name put a record together wherever they stand.

use core::fmt::Arguments;

/// Logs as information.
#[cold]
#[inline(never)]
pub fn inform(arguments: Arguments<'_>) {
    ::log::info!("{arguments}");
}

/// Logs as a warning.
#[cold]
#[inline(never)]
pub fn caution(arguments: Arguments<'_>) {
    ::log::warn!("{arguments}");
}

/// Logs as an error.
#[cold]
#[inline(never)]
pub fn complain(arguments: Arguments<'_>) {
    ::log::error!("{arguments}");
}

/// Logs as information.
macro_rules! info {
    ($($argument:tt)*) => { $crate::program::log::inform(format_args!($($argument)*)) };
}
/// Logs as a warning.
macro_rules! warning {
    ($($argument:tt)*) => { $crate::program::log::caution(format_args!($($argument)*)) };
}
/// Logs as an error.
macro_rules! error {
    ($($argument:tt)*) => { $crate::program::log::complain(format_args!($($argument)*)) };
}
pub(crate) use {error, info, warning as warn};
