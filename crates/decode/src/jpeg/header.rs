//! The segments of a JPEG in their order: what it says of itself, and every scan walked.

use flawd_core::image::Size;

use crate::limit::TooLittle;

use super::{
    JpegError,
    huffman::Huffman,
    scan::{self, Kind, Part, Scan},
    standard,
};

/// What a whole JPEG is known to be.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Checked {
    /// Behind its end marker; what follows is none of the picture.
    pub(super) end: usize,
    /// It has no Huffman tables, and means the standard ones.
    pub(super) needs_tables: bool,
}

/// The picture that the scans are about.
pub(super) struct Frame {
    is_progressive: bool,
    pub(super) components: Vec<Component>,
    /// Units across and down, where a scan has several components.
    pub(super) units: (usize, usize),
}

/// One colour.
pub(super) struct Component {
    id: u8,
    /// Blocks of a unit, across and down.
    pub(super) sampling: (usize, usize),
    /// Blocks across and down, where a scan has this component alone.
    pub(super) blocks: (usize, usize),
    /// Blocks across with those that only fill the last unit up.
    stride: usize,
    /// Progressive: for each block, which coefficients are not zero.
    known: Vec<u64>,
    /// Lowest bit that is told of each coefficient; none: nothing yet.
    told: [Option<u8>; 64],
}

impl Component {
    /// Which coefficients of a block are known not to be zero.
    pub(super) fn known(&mut self, row: usize, column: usize) -> &mut u64 {
        &mut self.known[row * self.stride + column]
    }
}

/// Scans of a progressive picture: 10 are usual, and a hostile file makes each cost time. The
/// decoder's own limit.
const MOST_SCANS: usize = 100;

/// Walks over everything from the first byte to the end marker.
///
/// # Errors
/// What is missing, damaged or not supported; or what `admit` says of the size, before anything
/// is allocated or read that depends on it.
pub(super) fn check<E: From<JpegError>>(
    bytes: &[u8],
    slack: usize,
    admit: impl FnOnce(Size) -> Result<(), E>,
) -> Result<Checked, E> {
    let mut admit = Some(admit);
    let mut reader = Reader::new(bytes)?;
    loop {
        match reader.step(slack)? {
            Step::Segment => {}
            Step::Frame(size) => {
                if let Some(admit) = admit.take() {
                    admit(size)?;
                }
                reader.allocate();
            }
            Step::End(checked) => return Ok(checked),
        }
    }
}

enum Step {
    Segment,
    Frame(Size),
    End(Checked),
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    first: [Option<Huffman>; 4],
    further: [Option<Huffman>; 4],
    has_tables: bool,
    restart: usize,
    frame: Option<Frame>,
    scans: usize,
}

impl<'a> Reader<'a> {
    fn new(bytes: &'a [u8]) -> Result<Self, JpegError> {
        if !bytes.starts_with(&[0xff, 0xd8]) {
            return Err(JpegError::Header("it does not begin like a JPEG"));
        }
        Ok(Self {
            bytes,
            at: 2,
            first: [const { None }; 4],
            further: [const { None }; 4],
            has_tables: false,
            restart: 0,
            frame: None,
            scans: 0,
        })
    }

    /// One segment, and the scan behind it where it begins one.
    fn step(&mut self, slack: usize) -> Result<Step, JpegError> {
        let marker = self.marker()?;
        match marker {
            // Without content; a restart marker behind the last unit is superfluous.
            0x01 | 0xd0..=0xd7 => {}
            0xd9 => return self.end(),
            0xc0..=0xc2 => return self.frame(marker == 0xc2),
            0xc3 | 0xc7 | 0xcb | 0xcf => {
                return Err(JpegError::Unsupported("a lossless JPEG"));
            }
            0xc5 | 0xc6 => return Err(JpegError::Unsupported("a hierarchical JPEG")),
            0xc9..=0xce => return Err(JpegError::Unsupported("a JPEG with arithmetic coding")),
            0xc4 => self.tables()?,
            0xdd => {
                let segment = self.segment()?;
                let interval = segment.first_chunk().ok_or(SHORT)?;
                self.restart = u16::from_be_bytes(*interval).into();
            }
            0xda => self.scan(slack)?,
            0xd8 => return Err(JpegError::Header("a second picture begins inside it")),
            _ => {
                self.segment()?;
            }
        }
        Ok(Step::Segment)
    }

    /// The next marker.
    fn marker(&mut self) -> Result<u8, JpegError> {
        let rest = &self.bytes[self.at..];
        let fill = rest.iter().take_while(|&&byte| byte == 0xff).count();
        match (fill, rest.get(fill)) {
            (_, None) => Err(JpegError::NoEnd),
            (0, _) | (_, Some(0)) => Err(JpegError::Header(
                "a segment does not begin where it should",
            )),
            (_, Some(&marker)) => {
                self.at += fill + 1;
                Ok(marker)
            }
        }
    }

    /// The content of a segment.
    fn segment(&mut self) -> Result<&'a [u8], JpegError> {
        let rest = &self.bytes[self.at..];
        let length = rest.first_chunk().ok_or(JpegError::NoEnd)?;
        let length = usize::from(u16::from_be_bytes(*length));
        let content = rest.get(..length).ok_or(JpegError::NoEnd)?;
        self.at += length;
        content.get(2..).ok_or(SHORT)
    }

    fn tables(&mut self) -> Result<(), JpegError> {
        let segment = self.segment()?;
        self.has_tables = true;
        standard::for_each_table(segment, |is_first, slot, counts, symbols| {
            let table = Huffman::new(*counts, symbols)?;
            let tables = if is_first {
                &mut self.first
            } else {
                &mut self.further
            };
            tables[slot] = Some(table);
            Ok(())
        })
    }

    fn frame(&mut self, is_progressive: bool) -> Result<Step, JpegError> {
        let segment = self.segment()?;
        if self.frame.is_some() {
            return Err(JpegError::Header("it has two frames"));
        }
        let &[precision, h1, h2, w1, w2, count, ref rest @ ..] = segment else {
            return Err(SHORT);
        };
        let height = usize::from(u16::from_be_bytes([h1, h2]));
        let width = usize::from(u16::from_be_bytes([w1, w2]));
        match (precision, height, width) {
            (8, 1.., 1..) => {}
            (8, 0, _) => {
                return Err(JpegError::Unsupported(
                    "a JPEG whose height follows the picture",
                ));
            }
            (8, _, 0) => return Err(JpegError::Header("its width is 0")),
            _ => {
                return Err(JpegError::Unsupported(
                    "a JPEG with other than 8 bits a channel",
                ));
            }
        }
        if rest.len() != usize::from(count) * 3 || !matches!(count, 1 | 3 | 4) {
            return Err(JpegError::Header("its number of colours is wrong"));
        }
        let size = Size::new(height, width);
        let components = rest.chunks_exact(3).map(|part| Component {
            id: part[0],
            sampling: (usize::from(part[1] >> 4), usize::from(part[1] & 15)),
            blocks: (0, 0),
            stride: 0,
            known: Vec::new(),
            told: [None; 64],
        });
        self.frame = Some(Frame::new(size, is_progressive, components.collect())?);
        // Two bits at least a block, or half a one where a progressive scan says it of all.
        let most = self.bytes.len().saturating_mul(512).saturating_add(1 << 16);
        if size.area() > most {
            return Err(TooLittle {
                size,
                bytes: self.bytes.len(),
            }
            .into());
        }
        Ok(Step::Frame(size))
    }

    /// What has to be remembered of each block, once the size is known to be admitted.
    fn allocate(&mut self) {
        let Some(frame) = self.frame.as_mut().filter(|frame| frame.is_progressive) else {
            return;
        };
        let (_, down) = frame.units;
        for component in &mut frame.components {
            component.known = vec![0; component.stride * down * component.sampling.1];
        }
    }

    fn scan(&mut self, slack: usize) -> Result<(), JpegError> {
        let segment = self.segment()?;
        let frame = self
            .frame
            .as_mut()
            .ok_or(JpegError::Header("a scan comes before its frame"))?;
        self.scans += 1;
        if self.scans > MOST_SCANS {
            return Err(JpegError::Header("it has more than 100 scans"));
        }
        if self.scans == 1 && !self.has_tables {
            standard::for_each_table(
                &standard::SEGMENT[4..],
                |is_first, slot, counts, symbols| {
                    let tables = if is_first {
                        &mut self.first
                    } else {
                        &mut self.further
                    };
                    tables[slot] = Some(Huffman::new(*counts, symbols)?);
                    Ok(())
                },
            )?;
        }
        let (&count, rest) = segment.split_first().ok_or(SHORT)?;
        let count = usize::from(count);
        if !(1..=4).contains(&count) || rest.len() != count * 2 + 3 {
            return Err(JpegError::Header("a scan's number of colours is wrong"));
        }
        let (selectors, spectral) = rest.split_at(count * 2);
        let mut parts = Vec::with_capacity(count);
        for selector in selectors.chunks_exact(2) {
            let (id, tables) = (selector[0], selector[1]);
            let component = frame
                .components
                .iter()
                .position(|component| component.id == id);
            let component = component
                .filter(|&index| parts.iter().all(|part: &Part| part.component != index))
                .ok_or(JpegError::Header(
                    "a scan is about a colour that is not there",
                ))?;
            let slot = |slot: u8| usize::from(slot & 3);
            parts.push(Part {
                component,
                first: self.first[slot(tables >> 4)].as_ref(),
                further: self.further[slot(tables)].as_ref(),
            });
        }
        let kind = frame.kind_of(&parts, [spectral[0], spectral[1], spectral[2]])?;
        let scan = Scan {
            parts,
            kind,
            restart: self.restart,
        };
        self.at = scan::walk(self.bytes, self.at, frame, &scan, slack)?;
        Ok(())
    }

    fn end(&self) -> Result<Step, JpegError> {
        let frame = self
            .frame
            .as_ref()
            .ok_or(JpegError::Header("it has no picture"))?;
        if frame
            .components
            .iter()
            .any(|component| component.told[0].is_none())
        {
            return Err(JpegError::EndsEarly { percent: 0 });
        }
        Ok(Step::End(Checked {
            end: self.at,
            needs_tables: !self.has_tables,
        }))
    }
}

const SHORT: JpegError = JpegError::Header("a segment is too short");

impl Frame {
    fn new(
        size: Size,
        is_progressive: bool,
        mut components: Vec<Component>,
    ) -> Result<Self, JpegError> {
        let samplings = || components.iter().map(|component| component.sampling);
        if samplings().any(|(h, v)| !(1..=4).contains(&h) || !(1..=4).contains(&v)) {
            return Err(JpegError::Header("a colour's sampling is wrong"));
        }
        // With others the decoder panics, or gives wrong pixels.
        let (h, v) = components[0].sampling;
        let is_usual = |(across, down)| h % across == 0 && v % down == 0;
        if matches!((h, v), (3, _) | (_, 3)) || !samplings().all(is_usual) {
            return Err(JpegError::Unsupported(
                "a JPEG with an unusual sampling of its colours",
            ));
        }
        let most_across = samplings().map(|(h, _)| h).max().unwrap_or(1);
        let most_down = samplings().map(|(_, v)| v).max().unwrap_or(1);
        let units = (
            size.width.div_ceil(8 * most_across),
            size.height.div_ceil(8 * most_down),
        );
        for component in &mut components {
            let (h, v) = component.sampling;
            component.blocks = (
                (size.width * h).div_ceil(most_across).div_ceil(8),
                (size.height * v).div_ceil(most_down).div_ceil(8),
            );
            component.stride = units.0 * h;
        }
        Ok(Self {
            is_progressive,
            components,
            units,
        })
    }

    /// What a scan tells, and that it is the next thing to tell of each coefficient.
    fn kind_of(&mut self, parts: &[Part], [from, to, bits]: [u8; 3]) -> Result<Kind, JpegError> {
        let (before, lowest) = (bits >> 4, bits & 15);
        if !self.is_progressive {
            if parts.len() < self.components.len() {
                // The decoder gives wrong pixels.
                return Err(JpegError::Unsupported(
                    "a sequential JPEG with its colours one after the other",
                ));
            }
            for part in parts {
                let told = &mut self.components[part.component].told[0];
                if told.replace(0).is_some() {
                    return Err(OUT_OF_ORDER);
                }
            }
            return Ok(Kind::Sequential);
        }
        let is_dc = from == 0;
        if to > 63 || from > to || (is_dc && to > 0) || (!is_dc && parts.len() > 1) || lowest > 13 {
            return Err(JpegError::Header("a scan's range is wrong"));
        }
        for part in parts {
            let component = &mut self.components[part.component];
            if !is_dc && component.told[0].is_none() {
                return Err(OUT_OF_ORDER);
            }
            for told in &mut component.told[usize::from(from)..=usize::from(to)] {
                let follows = match *told {
                    None => before == 0,
                    Some(bit) => before == bit && bit == lowest + 1,
                };
                if !follows {
                    return Err(OUT_OF_ORDER);
                }
                *told = Some(lowest);
            }
        }
        Ok(match (is_dc, before) {
            (true, 0) => Kind::FirstDc,
            (true, _) => Kind::RefinedDc,
            (false, 0) => Kind::FirstAc(from.into(), to.into()),
            (false, _) => Kind::RefinedAc(from.into(), to.into()),
        })
    }
}

const OUT_OF_ORDER: JpegError = JpegError::ScanOrder;
