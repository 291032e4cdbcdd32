//! Draws one part: geometry, light, surface and sensor.
//!
//! This module knows appearance, and nothing of lines, seeds or rates. The part is a flange: a
//! turned face between an outer chamfer and a blasted hub, with four bolt holes and a bore with a
//! keyway. Colours are linear shares of white; lengths are in part units, 1 being half the shorter
//! side of the picture.

use flawd_core::image::{RgbImage, Size};

use super::defect::{Blob, Defect, DefectKind, Scratch, distance, length};
use super::noise::{Draws, Noise, direction, mix_between, smooth_step};
use super::part::{
    BORE_RADIUS, CHAMFER_WIDTH, HOLE_RADIUS, HOLES, HUB_RADIUS, KEYWAY_DEPTH, KEYWAY_HALF_WIDTH,
    OUTER_RADIUS, Point,
};

type Colour = [f32; 3];

/// Everything that varies from part to part without being a defect.
struct Scene {
    centre: Point,
    /// Cosine and sine of the part's angle on the belt.
    turn: Point,
    scale: f32,
    /// Direction towards the lamp.
    lamp: Point,
    exposure: f32,
    gradient: Point,
    /// Colour of the lamp, about 1 in each channel.
    tint: Colour,
    grooves: Noise,
    streaks: Noise,
    blasting: Noise,
    belt: Noise,
    belt_shift: Point,
    sensor: [Noise; 3],
    groove_depth: f32,
}

impl Scene {
    fn draw(draws: &mut Draws) -> Self {
        let warmth = draws.range(-0.015, 0.015);
        Self {
            centre: [draws.range(-0.035, 0.035), draws.range(-0.035, 0.035)],
            turn: direction(draws.range(-0.008, 0.008)),
            scale: draws.range(0.985, 1.015),
            lamp: direction(0.64 + draws.range(-0.02, 0.02)),
            exposure: draws.range(0.94, 1.06),
            gradient: [draws.range(0.02, 0.12), draws.range(0.0, 0.1)],
            tint: [1.0 + warmth, 1.0, 1.0 - warmth],
            grooves: draws.noise(),
            streaks: draws.noise(),
            blasting: draws.noise(),
            belt: draws.noise(),
            belt_shift: [draws.range(0.0, 8.0), draws.range(0.0, 8.0)],
            sensor: [draws.noise(), draws.noise(), draws.noise()],
            groove_depth: draws.range(0.7, 1.3),
        }
    }

    /// Converts picture coordinates to part coordinates.
    fn on_part(&self, [x, y]: Point) -> Point {
        let (x, y) = (
            (x - self.centre[0]) / self.scale,
            (y - self.centre[1]) / self.scale,
        );
        let [cosine, sine] = self.turn;
        [cosine * x + sine * y, cosine * y - sine * x]
    }
}

/// Renders a part and the mask of its defect (255 inside, one byte per pixel).
pub(crate) fn render(
    size: Size,
    seed: u64,
    index: u64,
    defect: Option<DefectKind>,
) -> (RgbImage, Vec<u8>) {
    // Two sequences, so that a part looks the same whatever its defect is.
    let scene = Scene::draw(&mut Draws::new(seed ^ 0x5ce4e, index));
    let defect = defect.map(|kind| Defect::draw(kind, &mut Draws::new(seed ^ 0xdefec7, index)));

    let half = size.height.min(size.width) as f32 / 2.0;
    let pixel = 1.0 / half;
    let mut bytes = Vec::with_capacity(size.height * size.width * 3);
    let mut mask = Vec::with_capacity(size.height * size.width);
    for row in 0..size.height {
        for column in 0..size.width {
            let place = [
                (column as f32 + 0.5 - size.width as f32 / 2.0) * pixel,
                (row as f32 + 0.5 - size.height as f32 / 2.0) * pixel,
            ];
            let point = scene.on_part(place);
            let (mut colour, on_part_surface) = shade(&scene, defect.as_ref(), place, point, pixel);
            let light = scene.exposure
                * (1.0 - scene.gradient[0] * place[0] - scene.gradient[1] * place[1])
                * (1.0 - 0.05 * (place[0] * place[0] + place[1] * place[1]));
            for (channel, value) in colour.iter_mut().enumerate() {
                let exact = *value * light * scene.tint[channel];
                // Shot noise grows with the square root of the light.
                let deviation = 0.004 + 0.009 * exact.max(0.0).sqrt();
                let noisy = exact + deviation * scene.sensor[channel].grain(column, row);
                bytes.push((noisy * 255.0 + 0.5).clamp(0.0, 255.0) as u8);
            }
            let covered = defect.as_ref().map_or(0.0, |defect| defect.coverage(point));
            mask.push(if on_part_surface && covered > 0.4 {
                255
            } else {
                0
            });
        }
    }
    let image = RgbImage::new(size, bytes).expect("three bytes were pushed for every pixel");
    (image, mask)
}

/// Returns the colour at a point under even light, and whether the point is on the part, including
/// what a chip removed.
fn shade(
    scene: &Scene,
    defect: Option<&Defect>,
    place: Point,
    point: Point,
    pixel: f32,
) -> (Colour, bool) {
    let belt = belt(scene, place);
    let rim = length(point) - OUTER_RADIUS;
    let hole = opening(point, defect);
    // Share of the pixel that metal fills: the signed distances are exact near the edges.
    let metal_share = cover(rim, pixel) * (1.0 - cover(hole, pixel));

    let ground = if rim > 0.0 {
        // The lamp's shadow lies on the far side of the part.
        let shadow_rim =
            distance(point, [-0.045 * scene.lamp[0], -0.045 * scene.lamp[1]]) - OUTER_RADIUS;
        scaled(belt, mix_between(0.45, 1.0, smooth_step(shadow_rim / 0.07)))
    } else {
        scaled(belt, 0.42 + 0.25 * smooth_step(-hole / 0.08))
    };
    let mut colour = ground;
    if metal_share > 0.0 {
        let metal = metal(scene, defect, point, hole);
        colour = mixed(ground, metal, metal_share);
    }
    if let Some(Defect::Chip(chip)) = defect {
        colour = broken(scene, chip, point, rim, belt, colour);
    }
    (colour, rim < 0.0 && hole > 0.0)
}

/// Returns the conveyor: a dark woven fabric, at some position along its length.
fn belt(scene: &Scene, place: Point) -> Colour {
    let (x, y) = (
        place[0] + scene.belt_shift[0],
        place[1] + scene.belt_shift[1],
    );
    let weave = scene.belt.smooth(x * 14.0, y * 42.0) + scene.belt.smooth(x * 42.0 + 7.3, y * 14.0);
    let dirt = scene.belt.cloudy(x * 2.5, y * 2.5);
    scaled([0.165, 0.19, 0.185], 1.0 + 0.13 * weave + 0.16 * dirt)
}

/// Returns the signed distance to the nearest edge of a hole, negative inside one.
fn opening(point: Point, defect: Option<&Defect>) -> f32 {
    let bore = length(point) - BORE_RADIUS;
    let keyway = if matches!(defect, Some(Defect::MissingKeyway)) {
        f32::INFINITY
    } else {
        let beside = point[0].abs() - KEYWAY_HALF_WIDTH;
        let beyond = (point[1] + KEYWAY_DEPTH / 2.0).abs() - KEYWAY_DEPTH / 2.0;
        beside.max(beyond)
    };
    HOLES
        .iter()
        .enumerate()
        .filter(
            |(hole, _)| !matches!(defect, Some(Defect::MissingHole(missing)) if missing == hole),
        )
        .map(|(_, &centre)| distance(point, centre) - HOLE_RADIUS)
        .fold(bore.min(keyway), f32::min)
}

/// Returns the metal's surface at a point.
fn metal(scene: &Scene, defect: Option<&Defect>, point: Point, hole: f32) -> Colour {
    let radius = length(point).max(1e-3);
    let outward = [point[0] / radius, point[1] / radius];
    let facing = outward[0] * scene.lamp[0] + outward[1] * scene.lamp[1];

    let mut brightness = if radius > HUB_RADIUS {
        let bevel = smooth_step((radius - OUTER_RADIUS + CHAMFER_WIDTH) / 0.012);
        mix_between(
            turned(scene, point, radius, facing),
            0.56 + 0.3 * facing,
            bevel,
        )
    } else {
        let grain = scene.blasting.cloudy(point[0] * 26.0, point[1] * 26.0);
        let step = 1.0 - smooth_step((HUB_RADIUS - radius) / 0.03);
        0.55 + 0.1 * grain + 0.26 * facing * step
    };
    // The hub casts a narrow shadow onto the face, and every hole has a bright or dark bevel.
    if radius > HUB_RADIUS {
        let shadow = 1.0 - smooth_step((radius - HUB_RADIUS) / 0.05);
        brightness -= 0.14 * shadow * (0.5 - facing).max(0.0);
    }
    if hole < 0.022 {
        let centre = HOLES
            .iter()
            .copied()
            .find(|&centre| distance(point, centre) < HOLE_RADIUS + 0.03)
            .unwrap_or([0.0, 0.0]);
        let from = [point[0] - centre[0], point[1] - centre[1]];
        let across = (from[0] * scene.lamp[0] + from[1] * scene.lamp[1]) / length(from).max(1e-3);
        brightness = 0.5 - 0.3 * across;
    }

    let mut colour = scaled([0.985, 1.0, 1.015], brightness);
    match defect {
        Some(Defect::Scratch(scratch)) => scratched(&mut colour, scratch, point),
        Some(Defect::Blowhole(pits)) => {
            pits.iter()
                .for_each(|pit| pitted(&mut colour, pit, point, scene.lamp));
        }
        Some(Defect::Stain(stain)) => {
            let cover = stain.coverage(point, 0.55) * (0.4 + 0.3 * stain.strength);
            let brown = [0.56 * colour[0], 0.44 * colour[1], 0.30 * colour[2]];
            colour = mixed(colour, brown, cover);
        }
        _ => {}
    }
    colour
}

/// Renders the concentric grooves of a lathe, which reflect a lamp as two opposite fans of light.
fn turned(scene: &Scene, point: Point, radius: f32, facing: f32) -> f32 {
    // A monotone substitute for the angle: enough to make grooves fade in and out along their way.
    let around = point[1] / (point[0].abs() + point[1].abs());
    let groove = 0.6 * scene.grooves.smooth(radius * 62.0, around * 2.0)
        + 0.4 * scene.grooves.smooth(radius * 23.0 + 40.0, around * 1.3);
    let streak = scene.streaks.cloudy(point[0] * 3.0, point[1] * 3.0);
    let fan = facing * facing;
    let fan = fan * fan;
    0.57 + 0.05 * streak + 0.2 * fan + groove * scene.groove_depth * (0.055 + 0.06 * fan)
}

fn scratched(colour: &mut Colour, scratch: &Scratch, point: Point) {
    let light = scratch.contrast * scratch.coverage(point);
    let dark = 0.6 * scratch.contrast * scratch.shadow(point);
    *colour = colour.map(|value| value + light - dark);
}

fn pitted(colour: &mut Colour, pit: &Blob, point: Point, lamp: Point) {
    let inside = pit.coverage(point, 0.35);
    if inside == 0.0 {
        return;
    }
    // The wall that faces the lamp is the one on the far side.
    let from = [point[0] - pit.centre[0], point[1] - pit.centre[1]];
    let across = (from[0] * lamp[0] + from[1] * lamp[1]) / pit.radius;
    let wall = 0.42 - 0.12 * pit.strength - 0.2 * across;
    *colour = mixed(*colour, scaled(*colour, wall.max(0.1)), inside);
}

/// Renders a chip: the belt where the edge is gone, and rough fracture where metal is left.
fn broken(
    scene: &Scene,
    chip: &Blob,
    point: Point,
    rim: f32,
    belt: Colour,
    colour: Colour,
) -> Colour {
    let cover = chip.coverage(point, 0.08);
    if cover == 0.0 || rim > 0.0 {
        return colour;
    }
    let grain = scene.blasting.cloudy(point[0] * 60.0, point[1] * 60.0);
    let fracture = scaled([1.0, 1.0, 1.0], 0.5 + 0.22 * grain);
    let depth = -rim / chip.radius;
    let gone = 1.0 - smooth_step((depth - 0.45) / 0.12);
    mixed(colour, mixed(fracture, scaled(belt, 0.55), gone), cover)
}

/// Returns the share of a pixel on the negative side of an edge at this distance.
fn cover(distance: f32, pixel: f32) -> f32 {
    (0.5 - distance / pixel).clamp(0.0, 1.0)
}

fn scaled(colour: Colour, factor: f32) -> Colour {
    colour.map(|value| value * factor)
}

fn mixed(from: Colour, to: Colour, share: f32) -> Colour {
    std::array::from_fn(|channel| mix_between(from[channel], to[channel], share))
}
