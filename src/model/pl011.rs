//! The virtual PL011 UART (Arm DDI 0183G), revision r1p5, without modem lines, DMA and a bit clock.
//!
//! The model owns the registers and the receive FIFO; bytes sent leave through the return value of [`Pl011::write`] into
//! the partition's output ring. Three things differ from the hardware, all so that nothing is lost: bytes are sent and
//! received whether or not the guest enabled the UART (early consoles do not), the receive timeout is a level that
//! holds while there is data (there is no bit time to wait), and received bytes wait outside while the FIFO is full.

/// Bytes the receive FIFO holds (r1p5; Linux reads the depth from the revision).
pub const FIFO_DEPTH: usize = 32;

/// Register offsets (DDI 0183G table 3-1).
mod offset {
    pub const DR: u64 = 0x000;
    pub const RSR_ECR: u64 = 0x004;
    pub const FR: u64 = 0x018;
    pub const ILPR: u64 = 0x020;
    pub const IBRD: u64 = 0x024;
    pub const FBRD: u64 = 0x028;
    pub const LCR_H: u64 = 0x02c;
    pub const CR: u64 = 0x030;
    pub const IFLS: u64 = 0x034;
    pub const IMSC: u64 = 0x038;
    pub const RIS: u64 = 0x03c;
    pub const MIS: u64 = 0x040;
    pub const ICR: u64 = 0x044;
    pub const DMACR: u64 = 0x048;
    pub const PERIPH_ID0: u64 = 0xfe0;
}

/// PeriphID0..3 and PCellID0..3 (3.3.16 to 3.3.23): part 0x011, designer 0x41, revision 3.
const IDENTIFICATION: [u8; 8] = [0x11, 0x10, 0x34, 0x00, 0x0d, 0xf0, 0x05, 0xb1];

/// Flag register (3.3.3). CTS, DSR and DCD read asserted, so that flow control never waits.
const FR_CTS: u32 = 1 << 0;
const FR_DSR: u32 = 1 << 1;
const FR_DCD: u32 = 1 << 2;
const FR_BUSY: u32 = 1 << 3;
const FR_RXFE: u32 = 1 << 4;
const FR_TXFF: u32 = 1 << 5;
const FR_RXFF: u32 = 1 << 6;
const FR_TXFE: u32 = 1 << 7;
const FR_RI: u32 = 1 << 8;

/// Line control register (3.3.7): FIFOs enabled.
const LCR_H_FEN: u32 = 1 << 4;

/// Control register (3.3.8).
const CR_LBE: u32 = 1 << 7;
const CR_RXE: u32 = 1 << 9;
const CR_DTR: u32 = 1 << 10;
const CR_RTS: u32 = 1 << 11;
const CR_OUT1: u32 = 1 << 12;
const CR_OUT2: u32 = 1 << 13;
/// TXE and RXE are set after reset.
const CR_RESET: u32 = 0x300;

/// FIFO level select register (3.3.9): half and half after reset.
const IFLS_RESET: u32 = 0x12;

/// Interrupt bits of IMSC, RIS, MIS and ICR (3.3.10 to 3.3.13).
const INT_RX: u32 = 1 << 4;
const INT_TX: u32 = 1 << 5;
const INT_RT: u32 = 1 << 6;
const INT_OE: u32 = 1 << 10;

/// Overrun in RSR and, eight bits up, in DR (3.3.1, 3.3.2).
const RSR_OE: u32 = 1 << 3;
const DR_STATUS_SHIFT: u32 = 8;

/// Bits a register holds.
const MASK_ILPR: u32 = 0xff;
const MASK_IBRD: u32 = 0xffff;
const MASK_FBRD: u32 = 0x3f;
const MASK_LCR_H: u32 = 0xff;
const MASK_CR: u32 = 0xff87;
const MASK_IFLS: u32 = 0x3f;
const MASK_IMSC: u32 = 0x7ff;
const MASK_DMACR: u32 = 0x7;

/// One virtual UART.
#[derive(Clone, Debug)]
pub struct Pl011 {
    fifo: [u8; FIFO_DEPTH],
    first: usize,
    count: usize,
    overrun: bool,
    /// A byte was sent and the transmit interrupt has not followed: the ring outside is full.
    sending: bool,
    /// The latched part of RIS: TX and OE.
    latched: u32,
    ilpr: u32,
    ibrd: u32,
    fbrd: u32,
    lcr_h: u32,
    cr: u32,
    ifls: u32,
    imsc: u32,
    dmacr: u32,
}

impl Default for Pl011 {
    fn default() -> Self {
        Self::new()
    }
}

impl Pl011 {
    /// The UART as reset leaves it (table 3-1).
    #[must_use]
    pub const fn new() -> Self {
        Self {
            fifo: [0; FIFO_DEPTH],
            first: 0,
            count: 0,
            overrun: false,
            sending: false,
            latched: 0,
            ilpr: 0,
            ibrd: 0,
            fbrd: 0,
            lcr_h: 0,
            cr: CR_RESET,
            ifls: IFLS_RESET,
            imsc: 0,
            dmacr: 0,
        }
    }

    /// Reads the register at byte `offset` of the frame, with its side effects.
    ///
    /// `tx_room` says whether the output ring has room for [`FIFO_DEPTH`] bytes. The result stands in the low end: the
    /// caller takes as many bytes as the access has. Offsets without a register read as zero.
    pub fn read(&mut self, offset: u64, tx_room: bool) -> u32 {
        self.read_word(offset & !3, tx_room) >> lane_shift(offset)
    }

    fn read_word(&mut self, offset: u64, tx_room: bool) -> u32 {
        match offset {
            offset::DR => self.take(),
            offset::RSR_ECR => self.receive_status(),
            offset::FR => self.flags(tx_room),
            offset::ILPR => self.ilpr,
            offset::IBRD => self.ibrd,
            offset::FBRD => self.fbrd,
            offset::LCR_H => self.lcr_h,
            offset::CR => self.cr,
            offset::IFLS => self.ifls,
            offset::IMSC => self.imsc,
            offset::RIS => self.raw_interrupts(),
            offset::MIS => self.raw_interrupts() & self.imsc,
            offset::DMACR => self.dmacr,
            _ => identification(offset),
        }
    }

    /// Writes `value` (zero above the access's width) to the register at byte `offset` of the frame.
    ///
    /// Gives the byte the guest sends, if it sends one: it must go into the output ring, so the caller does not carry
    /// out a store to offset 0 while that ring is full. `tx_room` says whether the ring has room for [`FIFO_DEPTH`]
    /// more; if not, the transmit interrupt waits for [`Pl011::drained`].
    pub fn write(&mut self, offset: u64, value: u32, tx_room: bool) -> Option<u8> {
        let value = value << lane_shift(offset);
        match offset & !3 {
            offset::DR => return self.send(value, tx_room),
            offset::RSR_ECR => self.overrun = false,
            offset::ILPR => self.ilpr = value & MASK_ILPR,
            offset::IBRD => self.ibrd = value & MASK_IBRD,
            offset::FBRD => self.fbrd = value & MASK_FBRD,
            offset::LCR_H => self.set_line_control(value & MASK_LCR_H),
            offset::CR => self.cr = value & MASK_CR,
            offset::IFLS => self.ifls = value & MASK_IFLS,
            offset::IMSC => self.imsc = value & MASK_IMSC,
            offset::ICR => self.latched &= !value,
            offset::DMACR => self.dmacr = value & MASK_DMACR,
            _ => {}
        }
        None
    }

    /// Says that the output ring has room for [`FIFO_DEPTH`] bytes again: the transmit interrupt may follow.
    pub fn drained(&mut self) {
        if self.sending {
            self.sending = false;
            self.latched |= INT_TX;
        }
    }

    /// Whether the guest has sent into a full ring and waits for [`Pl011::drained`].
    #[must_use]
    pub const fn awaits_drain(&self) -> bool {
        self.sending
    }

    /// Puts a received byte into the FIFO; gives false, and records an overrun, if there is no room.
    pub fn receive(&mut self, byte: u8) -> bool {
        if self.count >= self.depth() {
            self.overrun = true;
            self.latched |= INT_OE;
            return false;
        }
        let next = (self.first + self.count) % FIFO_DEPTH;
        if let Some(slot) = self.fifo.get_mut(next) {
            *slot = byte;
        }
        self.count += 1;
        self.overrun = false;
        true
    }

    /// Takes the oldest received byte out of the FIFO, for a guest that reads by other means than DR.
    pub fn take_received(&mut self) -> Option<u8> {
        (self.count > 0).then(|| self.take().to_le_bytes()[0])
    }

    /// Bytes [`Pl011::receive`] would take now; none while the guest has its receiver off or looped back.
    #[must_use]
    pub const fn room(&self) -> usize {
        if self.cr & CR_RXE == 0 || self.cr & CR_LBE != 0 {
            return 0;
        }
        self.depth().saturating_sub(self.count)
    }

    /// The level of UARTINTR: any interrupt raised and not masked (2.8).
    #[must_use]
    pub fn irq(&self) -> bool {
        // A guest that polls lets none through.
        self.imsc != 0 && self.raw_interrupts() & self.imsc != 0
    }

    const fn depth(&self) -> usize {
        if self.lcr_h & LCR_H_FEN == 0 {
            1
        } else {
            FIFO_DEPTH
        }
    }

    /// Bytes at which the receive interrupt is raised (3.3.9, bits 5:3); reserved values count as seven eighths.
    const fn receive_trigger(&self) -> usize {
        if self.lcr_h & LCR_H_FEN == 0 {
            return 1;
        }
        match (self.ifls >> 3) & 0x7 {
            0 => FIFO_DEPTH / 8,
            1 => FIFO_DEPTH / 4,
            2 => FIFO_DEPTH / 2,
            3 => FIFO_DEPTH * 3 / 4,
            _ => FIFO_DEPTH * 7 / 8,
        }
    }

    /// RIS: the latched transmit and overrun interrupts, receive by its level, timeout as long as there is data.
    fn raw_interrupts(&self) -> u32 {
        let mut raised = self.latched;
        if self.count > 0 {
            raised |= INT_RT;
        }
        if self.count >= self.receive_trigger() {
            raised |= INT_RX;
        }
        raised
    }

    fn receive_status(&self) -> u32 {
        if self.overrun { RSR_OE } else { 0 }
    }

    fn flags(&self, tx_room: bool) -> u32 {
        let mut flags = self.modem();
        flags |= if tx_room { FR_TXFE } else { FR_TXFF | FR_BUSY };
        if self.count == 0 {
            flags |= FR_RXFE;
        }
        if self.count >= self.depth() {
            flags |= FR_RXFF;
        }
        flags
    }

    /// The modem inputs: all asserted but RI; looped back from the outputs in loopback mode (2.4.5).
    const fn modem(&self) -> u32 {
        if self.cr & CR_LBE == 0 {
            return FR_CTS | FR_DSR | FR_DCD;
        }
        let mut flags = 0;
        if self.cr & CR_RTS != 0 {
            flags |= FR_CTS;
        }
        if self.cr & CR_DTR != 0 {
            flags |= FR_DSR;
        }
        if self.cr & CR_OUT1 != 0 {
            flags |= FR_DCD;
        }
        if self.cr & CR_OUT2 != 0 {
            flags |= FR_RI;
        }
        flags
    }

    /// Takes the oldest received byte, with the overrun flag where DR has it; zero if there is none.
    fn take(&mut self) -> u32 {
        let status = self.receive_status() << DR_STATUS_SHIFT;
        if self.count == 0 {
            return status;
        }
        let byte = self.fifo.get(self.first).copied().unwrap_or(0);
        self.first = (self.first + 1) % FIFO_DEPTH;
        self.count -= 1;
        u32::from(byte) | status
    }

    fn send(&mut self, value: u32, tx_room: bool) -> Option<u8> {
        let [byte, ..] = value.to_le_bytes();
        let looped_back = self.cr & CR_LBE != 0;
        self.sending = true;
        if looped_back {
            self.receive(byte);
        }
        // The byte leaves at once, so the FIFO falls through its trigger level with every one.
        if tx_room || looped_back {
            self.drained();
        } else {
            self.latched &= !INT_TX;
        }
        (!looped_back).then_some(byte)
    }

    /// Turning the FIFOs off discards what they hold: drivers flush that way (3.3.7).
    fn set_line_control(&mut self, value: u32) {
        if self.lcr_h & LCR_H_FEN != 0 && value & LCR_H_FEN == 0 {
            self.count = 0;
        }
        self.lcr_h = value;
    }
}

/// Bits by which a byte at `offset` stands above its register's least.
fn lane_shift(offset: u64) -> u32 {
    match offset & 3 {
        0 => 0,
        1 => 8,
        2 => 16,
        _ => 24,
    }
}

fn identification(offset: u64) -> u32 {
    offset
        .checked_sub(offset::PERIPH_ID0)
        .and_then(|distance| usize::try_from(distance / 4).ok())
        .and_then(|index| IDENTIFICATION.get(index))
        .map_or(0, |byte| u32::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DR: u64 = 0x00;
    const FR: u64 = 0x18;
    const LCR_H: u64 = 0x2c;
    const CR: u64 = 0x30;
    const IFLS: u64 = 0x34;
    const IMSC: u64 = 0x38;
    const RIS: u64 = 0x3c;
    const MIS: u64 = 0x40;
    const ICR: u64 = 0x44;

    fn with_fifo() -> Pl011 {
        let mut uart = Pl011::new();
        uart.write(LCR_H, 0x70, true);
        uart.write(CR, 0x301, true);
        uart
    }

    #[test]
    fn registers_reset_to_the_manuals_values() {
        let mut uart = Pl011::new();
        assert_eq!(uart.read(CR, true), 0x300);
        assert_eq!(uart.read(IFLS, true), 0x12);
        assert_eq!(
            uart.read(FR, true) & 0xf8,
            0x90,
            "both FIFOs empty, not busy"
        );
        for zero in [0x04, 0x20, 0x24, 0x28, 0x2c, 0x38, 0x3c, 0x40, 0x48, 0x80] {
            assert_eq!(uart.read(zero, true), 0, "{zero:#x}");
        }
        assert!(!uart.irq());
    }

    #[test]
    fn identifies_itself_to_linux_with_a_deep_fifo() {
        let mut uart = Pl011::new();
        let byte = |uart: &mut Pl011, index: u64| uart.read(0xfe0 + 4 * index, true);
        let id = (0..4).fold(0, |id, index| id | byte(&mut uart, index) << (8 * index));
        assert_eq!(id & 0x000f_ffff, 0x0004_1011, "Linux's amba id and mask");
        assert!((id >> 20) & 0xf >= 3, "Linux takes revision 3 for 32 bytes");
        let cell = (4..8).fold(0, |id, index| {
            id | byte(&mut uart, index) << (8 * (index - 4))
        });
        assert_eq!(cell, 0xb105_f00d);
    }

    #[test]
    fn a_guest_that_enables_nothing_is_heard() {
        let mut uart = Pl011::new();
        assert_eq!(uart.write(DR, 0x41, true), Some(b'A'));
        uart.write(CR, 0, true);
        assert_eq!(uart.write(DR, 0x1_0042, false), Some(b'B'));
    }

    #[test]
    fn transmit_interrupt_follows_each_write_and_is_cleared_by_icr() {
        let mut uart = with_fifo();
        uart.write(IMSC, 0x20, true);
        assert!(!uart.irq(), "nothing was sent yet: a transition, no level");
        uart.write(DR, 0x41, true);
        assert!(uart.irq());
        assert_eq!(uart.read(MIS, true), 0x20);
        uart.write(ICR, 0x20, true);
        assert!(!uart.irq());
        uart.write(DR, 0x41, true);
        assert!(uart.irq());
        uart.write(IMSC, 0, true);
        assert!(!uart.irq());
        assert_eq!(uart.read(RIS, true), 0x20);
    }

    #[test]
    fn transmit_interrupt_waits_until_the_ring_has_room() {
        let mut uart = with_fifo();
        uart.write(IMSC, 0x20, true);
        uart.write(DR, 0x41, false);
        assert!(!uart.irq());
        assert_eq!(uart.read(FR, false) & 0xa8, 0x28, "full and busy");
        assert!(uart.awaits_drain());
        uart.drained();
        assert!(uart.irq());
        assert!(!uart.awaits_drain());
        uart.write(ICR, 0x7ff, true);
        uart.drained();
        assert!(!uart.irq(), "room alone is no transition");
    }

    #[test]
    fn receive_interrupts_follow_the_selected_level() {
        for (select, trigger) in [(0_u32, 4), (1, 8), (2, 16), (3, 24), (4, 28)] {
            let mut uart = with_fifo();
            uart.write(IFLS, select << 3, true);
            for count in 1..=32 {
                assert!(uart.receive(0x61));
                let raised = uart.read(RIS, true);
                assert_eq!(raised & 0x10 != 0, count >= trigger, "{select} {count}");
                assert!(raised & 0x40 != 0, "timeout: data sits in the FIFO");
            }
            while uart.read(FR, true) & 0x10 == 0 {
                assert_eq!(uart.read(DR, true), 0x61);
            }
            assert_eq!(uart.read(RIS, true), 0);
        }
    }

    #[test]
    fn data_left_after_a_clear_still_interrupts() {
        let mut uart = with_fifo();
        uart.write(IMSC, 0x50, true);
        uart.receive(1);
        uart.write(ICR, 0x7ff, true);
        assert!(uart.irq());
        uart.read(DR, true);
        assert!(!uart.irq());
    }

    #[test]
    fn without_fifos_one_byte_fits_and_raises_receive() {
        let mut uart = Pl011::new();
        assert_eq!(uart.room(), 1);
        assert!(uart.receive(0x61));
        assert_eq!(uart.room(), 0);
        assert_eq!(uart.read(RIS, true) & 0x10, 0x10);
        assert_eq!(uart.read(FR, true) & 0x50, 0x40, "RXFF, not RXFE");
    }

    #[test]
    fn overrun_is_reported_and_cleared() {
        let mut uart = Pl011::new();
        uart.receive(0x61);
        assert!(!uart.receive(0x62));
        assert_eq!(uart.read(RIS, true) & 0x400, 0x400);
        assert_eq!(uart.read(0x04, true), 0x8);
        assert_eq!(uart.read(DR, true), 0x861);
        uart.write(0x04, 0, true);
        assert_eq!(uart.read(0x04, true), 0);
        uart.write(ICR, 0x400, true);
        assert_eq!(uart.read(RIS, true), 0);
    }

    #[test]
    fn turning_the_fifos_off_discards_and_turning_them_on_keeps() {
        let mut uart = Pl011::new();
        uart.receive(0x61);
        uart.write(LCR_H, 0x10, true);
        assert_eq!(uart.read(FR, true) & 0x10, 0);
        uart.write(LCR_H, 0x00, true);
        assert_eq!(uart.read(FR, true) & 0x10, 0x10);
    }

    #[test]
    fn a_receiver_turned_off_holds_input_back() {
        let mut uart = with_fifo();
        uart.write(CR, 0x101, true);
        assert_eq!(uart.room(), 0);
        uart.write(CR, 0x301, true);
        assert_eq!(uart.room(), 32);
    }

    #[test]
    fn loopback_returns_bytes_and_modem_lines() {
        let mut uart = with_fifo();
        uart.write(CR, 0x381, true);
        assert_eq!(uart.write(DR, 0x5a, true), None);
        assert_eq!(uart.room(), 0, "the line outside is cut off");
        assert_eq!(uart.read(DR, true), 0x5a);
        assert_eq!(uart.read(FR, true) & 0x107, 0);
        uart.write(CR, 0x3f81, true);
        assert_eq!(uart.read(FR, true) & 0x107, 0x107);
    }

    #[test]
    fn narrow_accesses_reach_their_bytes() {
        let mut uart = Pl011::new();
        assert_eq!(uart.read(CR + 1, true), 0x3);
        uart.write(CR + 1, 0x1, true);
        assert_eq!(uart.read(CR, true), 0x100);
        assert_eq!(uart.write(DR, 0x41, true), Some(0x41));
        assert_eq!(uart.read(0xfe0, true), 0x11);
    }
}
