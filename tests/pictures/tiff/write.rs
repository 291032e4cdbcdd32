//! Writes TIFFs as the tables require: any tag, any pieces, both byte orders, both sizes of offset.

use super::with;

/// How a file is written.
#[derive(Clone, Copy)]
pub(super) struct Form {
    /// Most significant byte first.
    pub(super) is_big: bool,
    /// With offsets of 64 bits.
    pub(super) is_long: bool,
}

pub(super) const LITTLE: Form = Form {
    is_big: false,
    is_long: false,
};

impl Form {
    fn short(self, value: u16) -> Vec<u8> {
        let bytes = value.to_le_bytes();
        self.turned(bytes.to_vec())
    }

    fn long(self, value: u32) -> Vec<u8> {
        self.turned(value.to_le_bytes().to_vec())
    }

    /// An offset or a count of entries' values.
    fn offset(self, value: usize) -> Vec<u8> {
        match self.is_long {
            true => self.turned((value as u64).to_le_bytes().to_vec()),
            false => self.long(value as u32),
        }
    }

    fn turned(self, mut bytes: Vec<u8>) -> Vec<u8> {
        if self.is_big {
            bytes.reverse();
        }
        bytes
    }

    pub(super) fn header(self, first: usize) -> Vec<u8> {
        let mark = if self.is_big { b"MM" } else { b"II" };
        let kind = match self.is_long {
            true => [self.short(43), self.short(8), self.short(0)].concat(),
            false => self.short(42),
        };
        [mark.to_vec(), kind, self.offset(first)].concat()
    }
}

pub(super) const WIDTH: u16 = 256;
pub(super) const HEIGHT: u16 = 257;
pub(super) const BITS: u16 = 258;
pub(super) const PACKING: u16 = 259;
pub(super) const COLOUR: u16 = 262;
pub(super) const OFFSETS: u16 = 273;
pub(super) const SAMPLES: u16 = 277;
pub(super) const ROWS: u16 = 278;
pub(super) const LENGTHS: u16 = 279;
pub(super) const PLANAR: u16 = 284;
pub(super) const PREDICTOR: u16 = 317;
pub(super) const TILE_OFFSETS: u16 = 324;
pub(super) const TILE_LENGTHS: u16 = 325;
pub(super) const EXTRA: u16 = 338;
pub(super) const FORMAT: u16 = 339;

/// A picture and what its directory says.
#[derive(Clone)]
pub(super) struct Page {
    pub(super) tags: Vec<(u16, Vec<u32>)>,
    /// The pieces that the offsets lead to.
    pub(super) pieces: Vec<Vec<u8>>,
}

impl Page {
    /// Of three by two pixels, in one strip.
    pub(super) fn new(colour: u32, bits: &[u32], samples: &[u8]) -> Self {
        let tags = vec![
            (WIDTH, vec![3]),
            (HEIGHT, vec![2]),
            (BITS, bits.to_vec()),
            (PACKING, vec![1]),
            (COLOUR, vec![colour]),
            (SAMPLES, vec![bits.len() as u32]),
            (ROWS, vec![2]),
        ];
        Self {
            tags,
            pieces: vec![samples.to_vec()],
        }
    }

    /// With another value for a tag, or one more.
    pub(super) fn tag(mut self, tag: u16, values: &[u32]) -> Self {
        self.tags.retain(|(other, _)| *other != tag);
        self.tags.push((tag, values.to_vec()));
        self
    }

    pub(super) fn without(mut self, tag: u16) -> Self {
        self.tags.retain(|(other, _)| *other != tag);
        self
    }

    pub(super) fn pieces(self, pieces: &[Vec<u8>]) -> Self {
        Self {
            pieces: pieces.to_vec(),
            ..self
        }
    }

    /// In tiles of 16 by 16, of one byte or three per pixel.
    pub(super) fn tiled(self) -> Self {
        let row = self.pieces[0].len() / 2;
        let pixel = row / 3;
        let mut tile = vec![9; 256 * pixel];
        for (place, row) in self.pieces[0].chunks(row).enumerate() {
            tile[place * 16 * pixel..][..row.len()].copy_from_slice(row);
        }
        let page = self.without(ROWS).tag(322, &[16]).tag(323, &[16]);
        page.pieces(&[tile])
    }

    pub(super) fn packed(self, packing: u32, pack: impl Fn(&[u8]) -> Vec<u8>) -> Self {
        let pieces: Vec<_> = self.pieces.iter().map(|piece| pack(piece)).collect();
        self.tag(PACKING, &[packing]).pieces(&pieces)
    }

    /// Pieces, directory, and what the directory leads to, from `start` on; with the place of the
    /// directory, and where in it the next one's is.
    fn write(&self, form: Form, start: usize) -> (Vec<u8>, usize, usize) {
        let mut bytes = Vec::new();
        let mut offsets = Vec::new();
        for piece in &self.pieces {
            offsets.push((start + bytes.len()) as u32);
            bytes.extend(piece);
        }
        let lengths: Vec<u32> = self.pieces.iter().map(|it| it.len() as u32).collect();
        let is_tiled = self.tags.iter().any(|(tag, _)| *tag == 322);
        let (at, of) = if is_tiled {
            (TILE_OFFSETS, TILE_LENGTHS)
        } else {
            (OFFSETS, LENGTHS)
        };
        let mut tags = self.tags.clone();
        for (tag, values) in [(at, offsets), (of, lengths)] {
            if tags.iter().all(|(other, _)| *other != tag) {
                tags.push((tag, values));
            }
        }
        // A tag without values is one that is to be missing.
        tags.retain(|(_, values)| !values.is_empty());
        tags.sort();
        let room = if form.is_long { 8 } else { 4 };
        let entries: Vec<_> = tags
            .iter()
            .map(|(tag, values)| {
                let is_long = matches!(*tag, OFFSETS | LENGTHS | TILE_OFFSETS | TILE_LENGTHS)
                    || values.iter().any(|&value| value > 0xffff);
                let data: Vec<u8> = values
                    .iter()
                    .flat_map(|&value| match is_long {
                        true => form.long(value),
                        false => form.short(value as u16),
                    })
                    .collect();
                let head = [form.short(*tag), form.short(if is_long { 4 } else { 3 })].concat();
                let mut value = data;
                if value.len() > room {
                    let place = form.offset(start + bytes.len());
                    bytes.extend(value);
                    value = place;
                }
                value.resize(room, 0);
                [head, form.offset(values.len()), value].concat()
            })
            .collect();
        let directory = start + bytes.len();
        match form.is_long {
            true => bytes.extend(form.turned((entries.len() as u64).to_le_bytes().to_vec())),
            false => bytes.extend(form.short(entries.len() as u16)),
        }
        bytes.extend(entries.concat());
        let next = start + bytes.len();
        bytes.extend(form.offset(0));
        (bytes, directory, next)
    }

    pub(super) fn file(&self) -> Vec<u8> {
        self.file_in(LITTLE)
    }

    pub(super) fn file_in(&self, form: Form) -> Vec<u8> {
        pages(form, std::slice::from_ref(self))
    }
}

/// A file with these pictures in their order.
pub(super) fn pages(form: Form, pages: &[Page]) -> Vec<u8> {
    let mut bytes = form.header(0);
    let mut link = bytes.len() - form.offset(0).len();
    for page in pages {
        let (page, directory, next) = page.write(form, bytes.len());
        bytes.extend(page);
        bytes = with(bytes, link, &form.offset(directory));
        link = next;
    }
    bytes
}
