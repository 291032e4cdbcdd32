//! Runs the program of a pickle on sizes alone.

use std::collections::HashMap;
use std::io::{self, BufRead, Read};

use super::Refusal;
use super::size::Size;

/// Why a program was not run to its end.
#[derive(Debug)]
pub(super) enum Stop {
    /// It asks for too much.
    Copies(Refusal),
    /// It ends too early, or is not a pickle: the reader reports what is wrong.
    Unreadable,
}

impl From<io::Error> for Stop {
    fn from(_: io::Error) -> Self {
        Self::Unreadable
    }
}

/// An item of the stack or of the memo.
#[derive(Clone, Copy)]
struct Slot {
    size: Size,
    /// The index of its copy in the memo, which changes with it.
    memo: Option<u32>,
}

/// The machine: its state, and what was copied so far.
#[derive(Default)]
struct Machine {
    stack: Vec<Slot>,
    /// Heights of the stack at the open marks.
    marks: Vec<usize>,
    memo: HashMap<u32, Slot>,
    copied: u64,
}

/// Runs one program, up to its `STOP`. `may` is called with the bytes of the program so far and the
/// bytes of copies it has asked for.
pub(super) fn run(
    reader: &mut impl BufRead,
    may: impl Fn(u64, u64) -> Result<(), Refusal>,
) -> Result<(), Stop> {
    let mut machine = Machine::default();
    let mut program = Program { reader, length: 0 };
    loop {
        let opcode = program.byte()?;
        let is_last = opcode == b'.';
        if is_last {
            let whole = machine.pop()?;
            machine.copied = machine.copied.saturating_add(whole.names());
        } else {
            machine.step(opcode, &mut program)?;
        }
        may(program.length, machine.copied).map_err(Stop::Copies)?;
        if is_last {
            return Ok(());
        }
    }
}

impl Machine {
    /// Executes one opcode, with its arguments from the program. The names of opcodes are those of
    /// Python's `pickletools`.
    fn step(&mut self, opcode: u8, program: &mut Program<impl BufRead>) -> Result<(), Stop> {
        match opcode {
            // PROTO, FRAME
            0x80 => program.skip(1)?,
            0x95 => program.skip(8)?,
            // NONE, NEWTRUE, NEWFALSE, and the empty tuple, list, dictionary and set
            b'N' | 0x88 | 0x89 | b')' | b']' | b'}' | 0x8f => self.push(Size::scalar()),
            // BININT1, BININT2, BININT, BINFLOAT
            b'K' => self.push(program.bytes(1)?),
            b'M' => self.push(program.bytes(2)?),
            b'J' => self.push(program.bytes(4)?),
            b'G' => self.push(program.bytes(8)?),
            // INT, LONG, FLOAT, UNICODE, PERSID
            b'I' | b'L' | b'F' | b'V' | b'P' => self.push(program.line()?),
            // Texts, bytes and long integers, with lengths of one, four and eight bytes
            0x8a | 0x8c | b'U' | b'C' => {
                let length = program.little_endian::<1>()?;
                self.push(program.bytes(length)?);
            }
            0x8b | b'X' | b'T' | b'B' => {
                let length = program.little_endian::<4>()?;
                self.push(program.bytes(length)?);
            }
            0x8d | 0x8e | 0x96 => {
                let length = program.little_endian::<8>()?;
                self.push(program.bytes(length)?);
            }
            b'(' => self.marks.push(self.stack.len()),
            // TUPLE, LIST, FROZENSET, TUPLE1 to TUPLE3
            b't' | b'l' | 0x91 => {
                let items = self.pop_to_mark()?;
                self.push(sequence(Size::scalar(), &items));
            }
            0x85..=0x87 => {
                let items = self.pop_some(usize::from(opcode - 0x84))?;
                self.push(sequence(Size::scalar(), &items));
            }
            b'd' => {
                let items = self.pop_to_mark()?;
                self.push(dictionary(Size::scalar(), &items));
            }
            // APPEND, APPENDS, ADDITEMS
            b'a' => {
                let items = self.pop_some(1)?;
                self.change_top(|top| sequence(top, &items))?;
            }
            b'e' | 0x90 => {
                let items = self.pop_to_mark()?;
                self.change_top(|top| sequence(top, &items))?;
            }
            // SETITEM, SETITEMS
            b's' => {
                let items = self.pop_some(2)?;
                self.change_top(|top| dictionary(top, &items))?;
            }
            b'u' => {
                let items = self.pop_to_mark()?;
                self.change_top(|top| dictionary(top, &items))?;
            }
            // POP, POP_MARK, DUP
            b'0' if self.is_mark_on_top() => _ = self.marks.pop(),
            b'0' => _ = self.pop()?,
            b'1' => _ = self.pop_to_mark()?,
            b'2' => {
                let top = *self.top()?;
                self.copy(top.size);
                self.stack.push(top);
            }
            b'g' => self.get(program.index()?)?,
            b'h' => self.get(program.little_endian::<1>()? as u32)?,
            b'j' => self.get(program.little_endian::<4>()? as u32)?,
            b'p' => self.put(program.index()?)?,
            b'q' => self.put(program.little_endian::<1>()? as u32)?,
            b'r' => self.put(program.little_endian::<4>()? as u32)?,
            0x94 => self.put(self.memo.len() as u32)?,
            b'c' => {
                let class = program.line()?.and(program.line()?);
                self.push(class);
            }
            // STACK_GLOBAL, NEWOBJ, NEWOBJ_EX, REDUCE, BINPERSID
            0x93 | 0x81 => self.join(2)?,
            0x92 => self.join(3)?,
            b'Q' => self.join(1)?,
            b'R' => {
                self.join(2)?;
                self.change_top(Size::called)?;
            }
            b'b' => self.build()?,
            _ => return Err(Stop::Unreadable),
        }
        Ok(())
    }

    fn push(&mut self, size: Size) {
        self.stack.push(Slot { size, memo: None });
    }

    fn is_mark_on_top(&self) -> bool {
        self.marks.last() == Some(&self.stack.len())
    }

    fn top(&mut self) -> Result<&mut Slot, Stop> {
        if self.is_mark_on_top() {
            return Err(Stop::Unreadable);
        }
        self.stack.last_mut().ok_or(Stop::Unreadable)
    }

    fn pop(&mut self) -> Result<Size, Stop> {
        let size = self.top()?.size;
        self.stack.pop();
        Ok(size)
    }

    /// Pops the last `count` items and returns them in the order in which they were pushed.
    fn pop_some(&mut self, count: usize) -> Result<Vec<Size>, Stop> {
        let mut sizes = (0..count)
            .map(|_| self.pop())
            .collect::<Result<Vec<_>, _>>()?;
        sizes.reverse();
        Ok(sizes)
    }

    fn pop_to_mark(&mut self) -> Result<Vec<Size>, Stop> {
        let mark = self.marks.pop().ok_or(Stop::Unreadable)?;
        Ok(self.stack.drain(mark..).map(|slot| slot.size).collect())
    }

    fn change_top(&mut self, change: impl FnOnce(Size) -> Size) -> Result<(), Stop> {
        let top = self.top()?;
        top.size = change(top.size);
        Ok(())
    }

    /// Makes one object of the last `count` items.
    fn join(&mut self, count: usize) -> Result<(), Stop> {
        let parts = self.pop_some(count)?;
        self.push(parts.into_iter().fold(Size::default(), Size::and));
        Ok(())
    }

    /// Sets the state of an object, and of its copy in the memo.
    fn build(&mut self) -> Result<(), Stop> {
        let state = self.pop()?;
        let top = self.top()?;
        top.size = top.size.and(state);
        match top.memo {
            Some(index) => self.put(index),
            None => Ok(()),
        }
    }

    fn get(&mut self, index: u32) -> Result<(), Stop> {
        let slot = *self.memo.get(&index).ok_or(Stop::Unreadable)?;
        self.copy(slot.size);
        self.stack.push(slot);
        Ok(())
    }

    fn put(&mut self, index: u32) -> Result<(), Stop> {
        let top = self.top()?;
        top.memo = Some(index);
        let slot = *top;
        self.copy(slot.size);
        self.memo.insert(index, slot);
        Ok(())
    }

    fn copy(&mut self, size: Size) {
        self.copied = self.copied.saturating_add(size.bytes());
    }
}

fn sequence(start: Size, items: &[Size]) -> Size {
    items.iter().fold(start, |size, &item| size.with_item(item))
}

/// Adds items to a dictionary. The reader rejects a key without a value.
fn dictionary(start: Size, items: &[Size]) -> Size {
    items
        .as_chunks()
        .0
        .iter()
        .fold(start, |size, &[key, value]| size.with_entry(key, value))
}

/// The bytes of a program that were not read yet.
struct Program<'a, R> {
    reader: &'a mut R,
    /// The number of bytes that were read.
    length: u64,
}

impl<R: BufRead> Program<'_, R> {
    fn byte(&mut self) -> io::Result<u8> {
        Ok(self.little_endian::<1>()? as u8)
    }

    fn little_endian<const BYTES: usize>(&mut self) -> io::Result<u64> {
        let mut number = [0; 8];
        self.reader.read_exact(&mut number[..BYTES])?;
        self.length += BYTES as u64;
        Ok(u64::from_le_bytes(number))
    }

    fn skip(&mut self, length: u64) -> io::Result<()> {
        let skipped = io::copy(&mut self.reader.by_ref().take(length), &mut io::sink())?;
        self.length += skipped;
        if skipped < length {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(())
    }

    /// Reads an argument of `length` bytes.
    fn bytes(&mut self, length: u64) -> io::Result<Size> {
        self.skip(length)?;
        Ok(Size::text(length))
    }

    /// Reads an argument that ends with the line.
    fn line(&mut self) -> io::Result<Size> {
        let length = self.reader.skip_until(b'\n')? as u64;
        self.length += length;
        Ok(Size::text(length))
    }

    /// Reads an index into the memo, in decimal.
    fn index(&mut self) -> Result<u32, Stop> {
        let mut line = Vec::new();
        self.reader.read_until(b'\n', &mut line)?;
        self.length += line.len() as u64;
        let digits = line.strip_suffix(b"\n").ok_or(Stop::Unreadable)?;
        let digits = digits.strip_suffix(b"\r").unwrap_or(digits);
        let digits = str::from_utf8(digits).map_err(|_| Stop::Unreadable)?;
        digits.parse().map_err(|_| Stop::Unreadable)
    }
}
