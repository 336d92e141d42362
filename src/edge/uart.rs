//! The board's console UART: a PL011, or the Raspberry Pi's mini UART. Both as the firmware set them up.

use super::gic::Frame;
use crate::words::Range;
use arm_pl011_uart::{Interrupts, PL011Registers, Uart, UniqueMmioPointer};
use core::ptr::NonNull;

/// Mini UART registers (BCM2711 ARM Peripherals, 2.2.2), from its own base.
const AUX_MU_IO: usize = 0x00;
const AUX_MU_IER: usize = 0x04;
const AUX_MU_LSR: usize = 0x14;
/// AUX_MU_IER: receive interrupt, and the bits that must be set with it.
const IER_RECEIVE: u32 = 0b1101;
const IER_TRANSMIT: u32 = 0b0010;
const LSR_DATA_READY: u32 = 1 << 0;
const LSR_TX_ROOM: u32 = 1 << 5;
const LSR_TX_IDLE: u32 = 1 << 6;

/// PL011 registers (DDI 0183) that arm-pl011-uart writes only together with a baud rate, for which the reference clock
/// would have to be known.
const UARTLCR_H: usize = 0x02c;
const UARTCR: usize = 0x030;
/// UARTLCR_H: eight bits, FIFOs on.
const LCR_H_8BIT_FIFO: u32 = 0b11 << 5 | 1 << 4;
/// UARTCR: UARTEN, TXE, RXE.
const CR_ON: u32 = 1 | 1 << 8 | 1 << 9;

/// Switches a PL011 on that firmware left off, at whatever speed it has.
fn enable_pl011(frame: Frame<0x48>) {
    if frame.read(UARTCR) & CR_ON != CR_ON {
        frame.write(UARTLCR_H, LCR_H_8BIT_FIFO);
        frame.write(UARTCR, CR_ON);
    }
}

/// The console UART.
pub enum BoardUart {
    /// Arm PL011.
    Pl011(Uart<'static>),
    /// Broadcom's mini UART.
    Mini(MiniUart),
}

/// Broadcom's mini UART.
#[derive(Debug)]
pub struct MiniUart(Frame<0x2c>);

/// Which UART a board has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Arm PL011.
    Pl011,
    /// Broadcom's mini UART.
    Mini,
}

impl BoardUart {
    /// Takes the UART at `registers`.
    ///
    /// # Safety
    /// The registers are a UART of this kind, mapped as device memory or reached with the MMU off, and nobody else
    /// drives it for as long as the value lives.
    #[must_use]
    pub unsafe fn new(kind: Kind, registers: Range) -> Option<Self> {
        match kind {
            Kind::Pl011 => {
                let base = NonNull::new(registers.base().get() as *mut PL011Registers)?;
                // SAFETY: by this function's contract.
                enable_pl011(unsafe { Frame::new(registers) }?);
                // SAFETY: by this function's contract.
                let registers = unsafe { UniqueMmioPointer::new(base) };
                Some(Self::Pl011(Uart::new(registers)))
            }
            // SAFETY: by this function's contract.
            Kind::Mini => unsafe { Frame::new(registers) }.map(|frame| Self::Mini(MiniUart(frame))),
        }
    }

    /// Gives a byte to the FIFO; `false` if it is full.
    #[inline(always)]
    pub fn try_write(&mut self, byte: u8) -> bool {
        match self {
            Self::Pl011(uart) => {
                let room = !uart.is_tx_fifo_full();
                if room {
                    uart.write_word(byte);
                }
                room
            }
            Self::Mini(MiniUart(frame)) => {
                let room = frame.read(AUX_MU_LSR) & LSR_TX_ROOM != 0;
                if room {
                    frame.write(AUX_MU_IO, byte.into());
                }
                room
            }
        }
    }

    /// Gives a byte to the FIFO, waiting for room. For the boot, and for the last words of a panic.
    pub fn write_blocking(&mut self, byte: u8) {
        const LOOKS: u32 = 10_000_000;
        for _ in 0..LOOKS {
            if self.try_write(byte) {
                return;
            }
        }
    }

    /// Whether everything given to the FIFO has left.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        match self {
            Self::Pl011(uart) => !uart.is_busy(),
            Self::Mini(MiniUart(frame)) => frame.read(AUX_MU_LSR) & LSR_TX_IDLE != 0,
        }
    }

    /// Takes a received byte, if there is one. A byte with a line error counts as none.
    pub fn try_read(&mut self) -> Option<u8> {
        match self {
            Self::Pl011(uart) => uart.read_word().ok().flatten(),
            Self::Mini(MiniUart(frame)) => {
                let ready = frame.read(AUX_MU_LSR) & LSR_DATA_READY != 0;
                ready.then(|| (frame.read(AUX_MU_IO) & 0xff) as u8)
            }
        }
    }

    /// Lets the UART interrupt for received bytes if `receive`, and for room in the transmit FIFO if `transmit`. Taking the
    /// bytes, or writing some, is what ends the interrupt (DDI 0183 3.4; BCM2711 2.2.1): nothing that came meanwhile is
    /// forgotten.
    pub fn set_interrupts(&mut self, receive: bool, transmit: bool) {
        match self {
            Self::Pl011(uart) => {
                let mut wanted = Interrupts::empty();
                wanted.set(Interrupts::RXI | Interrupts::RTI, receive);
                wanted.set(Interrupts::TXI, transmit);
                uart.set_interrupt_masks(wanted);
            }
            Self::Mini(MiniUart(frame)) => {
                let receive = if receive { IER_RECEIVE } else { 0 };
                let transmit = if transmit { IER_TRANSMIT } else { 0 };
                frame.write(AUX_MU_IER, receive | transmit);
            }
        }
    }
}
