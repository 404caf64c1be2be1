//! The instruction set of BPF (RFC 9669), as far as compilers for version 3 use it.

use anyhow::{Context as _, Result, bail, ensure};

use super::memory::Memory;

/// Nothing that the verifier lets through takes longer.
const INSTRUCTIONS_MAX: u64 = 1_000_000;

#[derive(Clone, Copy, Debug)]
pub(super) struct Instruction {
    pub(super) code: u8,
    pub(super) to: usize,
    pub(super) from: usize,
    pub(super) offset: i16,
    pub(super) immediate: i32,
}

/// A register: what is in it, and whether constants of the program alone decide that.
#[derive(Clone, Copy, Debug, Default)]
struct Register {
    value: u64,
    constant: bool,
}

impl Register {
    const fn variable(value: u64) -> Self {
        Self { value, constant: false }
    }
}

pub(super) struct Machine<'a> {
    code: &'a [Instruction],
    /// Programs that can be tail-called.
    rare: &'a [Vec<Instruction>],
    memory: &'a mut Memory,
    registers: [Register; 11],
    /// Where to go on after a function of ours, and registers 6 to 9.
    callers: Vec<(usize, [Register; 4])>,
    at: usize,
    pub(super) instructions: u64,
    pub(super) calls: u64,
}

// Classes of RFC 9669, section 3.
const LD: u8 = 0;
const LDX: u8 = 1;
const ST: u8 = 2;
const STX: u8 = 3;
const ALU: u8 = 4;
const JMP: u8 = 5;
const JMP32: u8 = 6;
const ALU64: u8 = 7;

/// Operand two is a register.
const X: u8 = 8;
const CALL: u8 = 0x80;
const EXIT: u8 = 0x90;
const ATOMIC: u8 = 0xc0;
/// bpf_tail_call
const TAIL_CALL: i32 = 12;

impl<'a> Machine<'a> {
    pub(super) fn new(
        code: &'a [Instruction],
        rare: &'a [Vec<Instruction>],
        memory: &'a mut Memory,
    ) -> Self {
        let mut registers = [Register::default(); 11];
        registers[1].value = Memory::context();
        let (instructions, calls) = (0, 0);
        Self { code, rare, memory, registers, callers: Vec::new(), at: 0, instructions, calls }
    }

    /// Runs to the end; what the program returned.
    pub(super) fn run(&mut self) -> Result<u32> {
        self.registers[10].value = Memory::stack(0)?;
        loop {
            let at = self.at;
            let it = *self.code.get(at).context("the program has ended without a word")?;
            self.at += 1;
            self.instructions += 1;
            ensure!(self.instructions <= INSTRUCTIONS_MAX, "the program does not end");
            let done = self.step(it).with_context(|| format!("instruction {at}: {it:?}"))?;
            if let Some(action) = done {
                return Ok(action);
            }
        }
    }

    fn get(&self, register: usize) -> Result<Register> {
        self.registers.get(register).copied().context("no such register")
    }

    fn set(&mut self, register: usize, to: Register) -> Result<()> {
        *self.registers.get_mut(register).context("no such register")? = to;
        Ok(())
    }

    fn step(&mut self, it: Instruction) -> Result<Option<u32>> {
        match it.code & 7 {
            LD => self.load_immediate(it)?,
            LDX => {
                let address = self.get(it.from)?.value.wrapping_add_signed(it.offset.into());
                let (value, constant) = self.memory.load(address, size(it.code))?;
                let value = if it.code & 0xe0 == 0x80 { extend(value, it.code) } else { value };
                self.set(it.to, Register { value, constant })?;
            }
            ST | STX => self.store(it)?,
            ALU | ALU64 => self.compute(it)?,
            JMP | JMP32 => return self.jump(it),
            _ => bail!("no such class"),
        }
        Ok(None)
    }

    /// Two slots, one instruction: a number, a map, or an address in a map of globals.
    fn load_immediate(&mut self, it: Instruction) -> Result<()> {
        const MAP: usize = 1;
        const GLOBAL: usize = 2;
        let high = self.code.get(self.at).context("half an instruction")?.immediate;
        self.at += 1;
        let low = u64::from(it.immediate.cast_unsigned());
        let high = u64::from(high.cast_unsigned());
        let value = match it.from {
            0 => low | high << 32,
            MAP => Memory::map(low),
            GLOBAL => self.memory.global(low, high)?,
            _ => bail!("no such kind of immediate"),
        };
        self.set(it.to, Register::variable(value))
    }

    fn store(&mut self, it: Instruction) -> Result<()> {
        let address = self.get(it.to)?.value.wrapping_add_signed(it.offset.into());
        let len = size(it.code);
        if it.code & 7 == ST {
            return self.memory.store(address, len, i64::from(it.immediate).cast_unsigned());
        }
        let operand = self.get(it.from)?.value;
        if it.code & 0xe0 != ATOMIC {
            return self.memory.store(address, len, operand);
        }
        const FETCH: i32 = 1;
        let (before, _) = self.memory.load(address, len)?;
        let after = match it.immediate & !FETCH {
            0x00 => before.wrapping_add(operand),
            0x40 => before | operand,
            0x50 => before & operand,
            0xa0 => before ^ operand,
            0xe0 => operand,
            0xf0 if before == self.get(0)?.value => operand,
            0xf0 => before,
            _ => bail!("no such atomic operation"),
        };
        self.memory.store(address, len, after)?;
        match it.immediate {
            0xf1 => self.set(0, Register::variable(before)),
            fetched if fetched & FETCH != 0 => self.set(it.from, Register::variable(before)),
            _ => Ok(()),
        }
    }

    fn compute(&mut self, it: Instruction) -> Result<()> {
        let is_wide = it.code & 7 == ALU64;
        let operand = if it.code & X != 0 && it.code & 0xf0 != 0xd0 {
            self.get(it.from)?
        } else {
            Register { value: i64::from(it.immediate).cast_unsigned(), constant: true }
        };
        let before = self.get(it.to)?;
        let value = match it.code & 0xf0 {
            0xd0 => turn(it, before.value)?,
            operation if is_wide => wide(operation, before.value, operand.value, it.offset)?,
            operation => narrow(operation, before.value, operand.value, it.offset)?.into(),
        };
        // A constant that is put into a register says nothing of branches elsewhere.
        let constant = match it.code & 0xf0 {
            0xb0 => it.code & X != 0 && operand.constant,
            _ => before.constant && operand.constant,
        };
        self.set(it.to, Register { value, constant })
    }

    fn jump(&mut self, it: Instruction) -> Result<Option<u32>> {
        match it.code & 0xf0 {
            0x00 if it.code & 7 == JMP => self.go(it.offset.into())?,
            0x00 => self.go(it.immediate)?,
            CALL => return self.call(it),
            EXIT => return self.exit(),
            condition => {
                let operand = if it.code & X != 0 {
                    self.get(it.from)?
                } else {
                    Register { value: i64::from(it.immediate).cast_unsigned(), constant: true }
                };
                let left = self.get(it.to)?;
                let holds = if it.code & 7 == JMP {
                    compare(condition, left.value, operand.value)?
                } else {
                    // Signed comparisons are of 32 bits, too.
                    let signed = |it: u64| i64::from(low(it).cast_signed()).cast_unsigned();
                    let is_signed = matches!(condition, 0x60 | 0x70 | 0xc0 | 0xd0);
                    let cut = |it: u64| if is_signed { signed(it) } else { low(it).into() };
                    compare(condition, cut(left.value), cut(operand.value))?
                };
                // So the loader decides those that ask for a feature.
                let is_decided = matches!(it.code, 0x35 | 0x36 | 0x45 | 0x46) && it.immediate == 0;
                if is_decided || (left.constant && operand.constant) {
                    self.instructions -= 1; // The verifier has decided.
                }
                if holds {
                    self.go(it.offset.into())?;
                }
            }
        }
        Ok(None)
    }

    fn go(&mut self, by: i32) -> Result<()> {
        let by = isize::try_from(by)?;
        self.at = self.at.checked_add_signed(by).context("a jump out of the program")?;
        Ok(())
    }

    fn exit(&mut self) -> Result<Option<u32>> {
        let Some((at, saved)) = self.callers.pop() else {
            return Ok(Some(low(self.get(0)?.value)));
        };
        self.at = at;
        for (to, from) in self.registers.iter_mut().skip(6).zip(saved) {
            *to = from;
        }
        self.registers[10].value = Memory::stack(self.callers.len())?;
        Ok(None)
    }

    fn call(&mut self, it: Instruction) -> Result<Option<u32>> {
        const OURS: usize = 1;
        if it.from == OURS {
            let [.., r6, r7, r8, r9, _] = self.registers;
            self.callers.push((self.at, [r6, r7, r8, r9]));
            self.registers[10].value = Memory::stack(self.callers.len())?;
            self.go(it.immediate)?;
            return Ok(None);
        }
        self.calls += 1;
        if it.immediate == TAIL_CALL {
            return self.tail_call();
        }
        let value = self.help(it.immediate)?;
        for register in 1..=5 {
            self.set(register, Register::default())?;
        }
        self.set(0, Register::variable(value))?;
        Ok(None)
    }

    /// Goes on with another program, which finds nothing but its context.
    fn tail_call(&mut self) -> Result<Option<u32>> {
        let row = usize::try_from(low(self.get(3)?.value))?;
        self.code = self.rare.get(row).context("no such program")?;
        self.at = 0;
        self.callers.clear();
        self.registers = [Register::default(); 11];
        self.registers[1].value = Memory::context();
        self.registers[10].value = Memory::stack(0)?;
        Ok(None)
    }

    /// What helpers do (linux/bpf.h, enum bpf_func_id).
    fn help(&mut self, helper: i32) -> Result<u64> {
        let [_, r1, r2, r3, r4, r5, ..] = self.registers.map(|it| it.value);
        let signed = |value: u64| low(value).cast_signed();
        Ok(match helper {
            1 => self.memory.look_up(r1, r2)?,
            2 => self.memory.update(r1, r2, r3, r4)?,
            3 => self.memory.delete(r1, r2)?,
            // bpf_ktime_get_ns and its coarse sister.
            5 | 160 => 1 << 62, // Long after whatever time the kernel has left in a map.
            7 => u32::MAX.into(), // Chance is against it, as it nearly always is.
            8 | 131 => 0,       // This CPU; and the ring is full, as a flood makes it.
            28 if r2 == 0 => sum(self.memory.octets(r3, usize::try_from(r4)?)?, low(r5)).into(),
            44 => self.memory.adjust_head(signed(r2)),
            51 if self.memory.has(r1, low(r2))? => 4,
            51 => r3 & 3,
            65 => self.memory.adjust_tail(signed(r2)),
            _ => bail!("helper {helper} is not known here"),
        })
    }
}

/// The one's complement sum of words of four octets (bpf_csum_diff of nothing and these).
fn sum(octets: &[u8], seed: u32) -> u32 {
    let (words, _) = octets.as_chunks::<4>();
    words.iter().fold(seed, |sum, &word| {
        let (sum, carry) = sum.overflowing_add(u32::from_le_bytes(word));
        sum + u32::from(carry)
    })
}

/// Octets of a load or store.
const fn size(code: u8) -> usize {
    match code & 0x18 {
        0x00 => 4,
        0x08 => 2,
        0x10 => 1,
        _ => 8,
    }
}

/// The value with its sign (BPF_MEMSX).
const fn extend(value: u64, code: u8) -> u64 {
    let unused = 64 - 8 * size(code);
    (value.cast_signed() << unused >> unused).cast_unsigned()
}

#[expect(clippy::cast_possible_truncation, reason = "half of a register")]
const fn low(value: u64) -> u32 {
    value as u32
}

/// Byte swaps: to little endian, to big endian, and always.
fn turn(it: Instruction, value: u64) -> Result<u64> {
    let swaps = it.code & 7 == ALU64 || it.code & X != 0;
    let swapped = if swaps { value.swap_bytes() >> (64 - it.immediate) } else { value };
    Ok(match it.immediate {
        16 => swapped & 0xffff,
        32 => swapped & 0xffff_ffff,
        64 => swapped,
        bits => bail!("{bits} bits cannot be swapped"),
    })
}

fn wide(operation: u8, a: u64, b: u64, offset: i16) -> Result<u64> {
    let by = low(b) & 63;
    Ok(match operation {
        0x00 => a.wrapping_add(b),
        0x10 => a.wrapping_sub(b),
        0x20 => a.wrapping_mul(b),
        0x30 if offset == 0 => a.checked_div(b).unwrap_or(0),
        0x40 => a | b,
        0x50 => a & b,
        0x60 => a << by,
        0x70 => a >> by,
        0x80 => a.wrapping_neg(),
        0x90 if offset == 0 => a.checked_rem(b).unwrap_or(a),
        0xa0 => a ^ b,
        0xb0 if offset == 0 => b,
        0xc0 => (a.cast_signed() >> by).cast_unsigned(),
        _ => bail!("no such operation"),
    })
}

fn narrow(operation: u8, a: u64, b: u64, offset: i16) -> Result<u32> {
    let (a, b) = (low(a), low(b));
    let by = b & 31;
    Ok(match operation {
        0x60 => a << by,
        0x70 => a >> by,
        0xc0 => (a.cast_signed() >> by).cast_unsigned(),
        _ => low(wide(operation, a.into(), b.into(), offset)?),
    })
}

fn compare(condition: u8, a: u64, b: u64) -> Result<bool> {
    let (signed_a, signed_b) = (a.cast_signed(), b.cast_signed());
    Ok(match condition {
        0x10 => a == b,
        0x20 => a > b,
        0x30 => a >= b,
        0x40 => a & b != 0,
        0x50 => a != b,
        0x60 => signed_a > signed_b,
        0x70 => signed_a >= signed_b,
        0xa0 => a < b,
        0xb0 => a <= b,
        0xc0 => signed_a < signed_b,
        0xd0 => signed_a <= signed_b,
        _ => bail!("no such condition"),
    })
}
