//! Connected places of a grid of cells.

use crate::image::Size;

/// Returns the 8-connected components of the cells that are `inside`, in the order of their first
/// cells; cells that touch at a corner are connected. Each lists the row-major indices of its
/// cells, in no particular order.
///
/// # Panics
/// If `inside` does not have one value for each cell of `size`.
pub(crate) fn components(size: Size, mut inside: Vec<bool>) -> Vec<Vec<usize>> {
    assert_eq!(inside.len(), size.area(), "one value a cell");
    let Size { height, width } = size;
    let mut found = Vec::new();
    for start in 0..inside.len() {
        if !inside[start] {
            continue;
        }
        inside[start] = false;
        let mut cells = vec![start];
        let mut looked_at = 0;
        while let Some(&cell) = cells.get(looked_at) {
            looked_at += 1;
            let (row, column) = (cell / width, cell % width);
            for row in row.saturating_sub(1)..=(row + 1).min(height - 1) {
                for column in column.saturating_sub(1)..=(column + 1).min(width - 1) {
                    let neighbour = row * width + column;
                    if inside[neighbour] {
                        inside[neighbour] = false;
                        cells.push(neighbour);
                    }
                }
            }
        }
        found.push(cells);
    }
    found
}
