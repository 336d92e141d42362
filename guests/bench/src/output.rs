//! The rows that write to the console.

use bulkhead_rt::abi::layout::UART_BASE;
use bulkhead_rt::{hypervisor, mmio};

/// Bytes of [`line`], its end among them.
const LINE: usize = 64;
/// Bytes of [`call`], as many as one call takes.
const CALL: usize = 48;

/// A byte by the UART.
pub fn byte() {
    mmio::write32(UART_BASE, u32::from(b'.'));
}

/// A line by the UART.
pub fn line() {
    (1..LINE).for_each(|_| byte());
    mmio::write32(UART_BASE, u32::from(b'\n'));
}

/// A line by a call.
pub fn call() {
    let mut line = [b'-'; CALL];
    line[CALL - 1] = b'\n';
    let _ = hypervisor::console_write(&line);
}
