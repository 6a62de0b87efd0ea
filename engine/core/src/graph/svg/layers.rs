//! Layers: boxes below each other, in an order in which few lines cross, as Sugiyama, Tagawa and Toda have it.
//!
//! 1. A box stands a layer below everything that leads to it. Lines that lead back, or over very many layers, run beside all
//!    boxes and have no part in this.
//! 2. A line that passes layers has a cell in each of them; a label is such a cell, with a size.
//! 3. The order in a layer follows the neighbours' middle; the order with the fewest crossings is kept.
//! 4. Cells move to below and above their neighbours as far as their own neighbours let them ([`spread`]).

/// Between boxes of a layer.
const APART: f64 = 30.0;
/// Between lines, and between a line and a box.
const ASIDE: f64 = 18.0;
/// How often the order is improved.
const ROUNDS: usize = 6;
/// Lines over more layers run beside the boxes.
const SPAN_MAX: usize = 48;

/// A box to be placed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Item {
    pub width: f64,
    pub height: f64,
    /// Which list it stands in; lists stand side by side.
    pub group: usize,
    /// Below everything else.
    pub last: bool,
}

/// A line to be placed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Edge {
    /// The box that it begins at; `None` for the head of the frame.
    pub from: Option<usize>,
    /// The box that it leads to; `None` for the head of the frame.
    pub to: Option<usize>,
    /// Where it begins, from the middle of the box.
    pub offset: f64,
    /// The size of its label.
    pub label: Option<(f64, f64)>,
}

/// Where something stands.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Spot {
    /// The middle.
    pub x: f64,
    pub top: f64,
    pub bottom: f64,
}

/// How a line runs.
#[derive(Clone, Debug)]
pub(super) enum Route {
    /// Down through layers, by these spots; one of them may be its label's.
    Down { by: Vec<Spot>, label: Option<Spot> },
    /// Beside all boxes.
    Beside,
}

/// A layer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Layer {
    pub top: f64,
    pub bottom: f64,
}

/// Everything in its place, from (0, 0).
#[derive(Debug, Default)]
pub(super) struct Placed {
    pub width: f64,
    pub height: f64,
    pub items: Vec<Spot>,
    /// The layer of each item.
    pub layer_of: Vec<usize>,
    pub layers: Vec<Layer>,
    pub routes: Vec<Route>,
    /// Whether nothing stands at the right of an item in its layer.
    pub free: Vec<bool>,
}

struct Cell {
    width: f64,
    height: f64,
    group: usize,
    layer: usize,
    x: f64,
    /// The cells above and below that it is connected with: which, how far the other end's place is from where the two shall be
    /// in line, and how much it matters.
    up: Vec<(usize, f64, f64)>,
    down: Vec<(usize, f64, f64)>,
    item: bool,
}

/// Places boxes and lines. `items` are in the order of the document.
pub(super) fn layout(items: &[Item], edges: &[Edge]) -> Placed {
    let ranks = ranks(items, edges);
    // Layers: a label's layer before each rank, where there are labels.
    let deepest = ranks.iter().max().copied().unwrap_or(0);
    let beside = |e: &Edge| match (e.from, e.to) {
        (_, None) => true,
        (None, Some(_)) => false,
        (Some(from), Some(to)) => to <= from || ranks[to] - ranks[from] > SPAN_MAX,
    };
    let below = |e: &Edge| e.from.map_or(0, |from| ranks[from] + 1);
    let mut labelled = vec![false; deepest + 2];
    for edge in edges.iter().filter(|e| e.label.is_some() && !beside(e)) {
        labelled[below(edge)] = true;
    }
    let mut at = 0;
    let (mut of_label, mut of_rank) = (Vec::new(), Vec::new());
    for labelled in &labelled[..=deepest] {
        of_label.push(at);
        at += usize::from(*labelled);
        of_rank.push(at);
        at += 1;
    }
    let layer_of: Vec<usize> = ranks.iter().map(|rank| of_rank[*rank]).collect();

    let mut cells: Vec<Cell> = items.iter().zip(&layer_of).map(|(item, layer)| cell(item, *layer)).collect();
    let mut chains: Vec<Option<(Vec<usize>, Option<usize>)>> = Vec::new();
    for edge in edges {
        let Some(to) = edge.to.filter(|_| !beside(edge)) else {
            chains.push(None);
            continue;
        };
        let first = of_label[below(edge)];
        let (mut by, mut label) = (Vec::new(), None);
        let (mut previous, mut offset) = (edge.from, edge.offset);
        for layer in first..layer_of[to] {
            let size = edge.label.filter(|_| layer == first);
            let (width, height) = size.unwrap_or((0.0, 0.0));
            let group = edge.from.map_or(items[to].group, |from| items[from].group);
            let (up, down) = (Vec::new(), Vec::new());
            cells.push(Cell { width, height, group, layer, x: 0.0, up, down, item: false });
            let here = cells.len() - 1;
            label = label.or(size.map(|_| by.len()));
            by.push(here);
            connect(&mut cells, previous, here, offset);
            (previous, offset) = (Some(here), 0.0);
        }
        connect(&mut cells, previous, to, offset);
        chains.push(Some((by, label)));
    }

    let mut layers: Vec<Vec<usize>> = vec![Vec::new(); at];
    for (index, cell) in cells.iter().enumerate() {
        layers[cell.layer].push(index);
    }
    straighten(&mut cells);
    order(&mut layers, &cells);
    spread(&layers, &mut cells);
    placed(items.len(), &cells, &layers, layer_of, chains)
}

fn cell(item: &Item, layer: usize) -> Cell {
    let Item { width, height, group, .. } = *item;
    Cell { width, height, group, layer, x: 0.0, up: Vec::new(), down: Vec::new(), item: true }
}

fn connect(cells: &mut [Cell], from: Option<usize>, to: usize, offset: f64) {
    let Some(from) = from else { return };
    // Bends in the middle of a line are worse than at its ends.
    let weight = match (cells[from].item, cells[to].item) {
        (true, true) => 1.0,
        (false, false) => 6.0,
        _ => 2.0,
    };
    cells[from].down.push((to, -offset, weight));
    cells[to].up.push((from, offset, weight));
}

/// Where nothing else leads to or from the ends of a line, the line shall be straight.
fn straighten(cells: &mut [Cell]) {
    for from in 0..cells.len() {
        let [(to, ..)] = cells[from].down[..] else { continue };
        if let [(_, _, weight)] = &mut cells[to].up[..] {
            *weight *= 12.0;
            cells[from].down[0].2 *= 12.0;
        }
    }
}

/// How deep each box stands.
fn ranks(items: &[Item], edges: &[Edge]) -> Vec<usize> {
    let mut into: Vec<Vec<Option<usize>>> = vec![Vec::new(); items.len()];
    for edge in edges {
        if let Some(to) = edge.to.filter(|to| edge.from.is_none_or(|from| from < *to)) {
            into[to].push(edge.from);
        }
    }
    let mut ranks: Vec<usize> = Vec::with_capacity(items.len());
    for (index, item) in items.iter().enumerate() {
        let above = into[index].iter().map(|from| from.map_or(0, |from| ranks[from] + 1)).max();
        // What only jumps backwards lead to stands where it stands in the list.
        let alone = || match index.checked_sub(1) {
            Some(before) if items[before].group == item.group => ranks[before] + 1,
            _ => 0,
        };
        ranks.push(above.unwrap_or_else(alone));
    }
    let deepest = items.iter().zip(&ranks).filter(|(item, _)| !item.last).map(|(_, rank)| *rank + 1).max().unwrap_or(0);
    for (rank, _) in ranks.iter_mut().zip(items).filter(|(_, item)| item.last) {
        *rank = deepest;
    }
    ranks
}

// ---- order ----------------------------------------------------------------------------------------------------------

fn order(layers: &mut Vec<Vec<usize>>, cells: &[Cell]) {
    let mut position = vec![0; cells.len()];
    let number = |layers: &[Vec<usize>], position: &mut [usize]| {
        for (place, index) in layers.iter().flat_map(|layer| layer.iter().enumerate()) {
            position[*index] = place;
        }
    };
    for layer in layers.iter_mut() {
        layer.sort_by_key(|index| cells[*index].group);
    }
    number(layers, &mut position);
    let mut best = (crossings(layers, cells, &position), layers.clone());
    for round in 0..ROUNDS {
        if best.0 == 0 {
            break;
        }
        let downwards = round % 2 == 0;
        for number in 0..layers.len() {
            let last = layers.len() - 1;
            let layer = &mut layers[if downwards { number } else { last - number }];
            let middle = |index: usize| {
                let near = if downwards { &cells[index].up } else { &cells[index].down };
                let sum: usize = near.iter().map(|(other, ..)| position[*other]).sum();
                if near.is_empty() { position[index] as f64 } else { sum as f64 / near.len() as f64 }
            };
            layer.sort_by(|a, b| {
                let key = |index: usize| (cells[index].group, middle(index));
                let ((group_a, middle_a), (group_b, middle_b)) = (key(*a), key(*b));
                group_a.cmp(&group_b).then(middle_a.total_cmp(&middle_b)).then(position[*a].cmp(&position[*b]))
            });
            for (place, index) in layer.iter().enumerate() {
                position[*index] = place;
            }
        }
        let now = crossings(layers, cells, &position);
        if now < best.0 {
            best = (now, layers.clone());
        }
    }
    *layers = best.1;
}

/// How many lines cross between neighbouring layers.
fn crossings(layers: &[Vec<usize>], cells: &[Cell], position: &[usize]) -> usize {
    layers.iter().map(|layer| inversions(layer, cells, position)).sum()
}

fn inversions(layer: &[usize], cells: &[Cell], position: &[usize]) -> usize {
    let mut ends = Vec::new();
    for index in layer {
        let mut own: Vec<usize> = cells[*index].down.iter().map(|(other, ..)| position[*other]).collect();
        own.sort_unstable();
        ends.extend(own);
    }
    let width = ends.iter().max().map_or(0, |most| most + 1);
    // A Fenwick tree of the ends so far.
    let mut tree = vec![0; width + 1];
    let (mut crossed, mut seen) = (0, 0);
    for end in ends {
        let (mut at, mut before) = (end + 1, 0);
        while at > 0 {
            before += tree[at];
            at -= at & at.wrapping_neg();
        }
        crossed += seen - before;
        seen += 1;
        at = end + 1;
        while at <= width {
            tree[at] += 1;
            at += at & at.wrapping_neg();
        }
    }
    crossed
}

// ---- places ---------------------------------------------------------------------------------------------------------

/// Gives every cell its x.
fn spread(layers: &[Vec<usize>], cells: &mut [Cell]) {
    for layer in layers {
        let mut x = 0.0;
        for (place, index) in layer.iter().enumerate() {
            x += place.checked_sub(1).map_or(0.0, |before| distance(&cells[layer[before]], &cells[*index]));
            cells[*index].x = x;
        }
        let shift = x / 2.0;
        layer.iter().for_each(|index| cells[*index].x -= shift);
    }
    for round in 0..18 {
        let (up, down) = match round {
            14.. => (true, true),
            _ => (round % 2 == 0, round % 2 == 1),
        };
        let mut align = |layer: &Vec<usize>| {
            let wish: Vec<(f64, f64)> = layer.iter().map(|index| wish(cells, *index, up, down)).collect();
            for (index, x) in layer.iter().zip(fit(layer, cells, &wish)) {
                cells[*index].x = x;
            }
        };
        if down && (!up || round % 2 == 1) {
            layers.iter().rev().for_each(&mut align)
        } else {
            layers.iter().for_each(&mut align)
        }
    }
}

/// Where a cell would be in line with its neighbours, and how much that matters.
fn wish(cells: &[Cell], index: usize, up: bool, down: bool) -> (f64, f64) {
    let cell = &cells[index];
    let near = cell.up.iter().filter(|_| up).chain(cell.down.iter().filter(|_| down));
    let (sum, weight) = near
        .fold((0.0, 0.0), |(sum, weight), (other, offset, own)| (sum + own * (cells[*other].x + offset), weight + own));
    if weight > 0.0 { (sum / weight, weight) } else { (cell.x, 0.05) }
}

/// How far apart the middles of two neighbours are at least.
fn distance(a: &Cell, b: &Cell) -> f64 {
    let gap = if a.item && b.item { APART } else { ASIDE };
    a.width / 2.0 + b.width / 2.0 + gap
}

/// The places nearest to the wishes (least squares) in which the order and the distances hold: isotonic regression, by pooling
/// neighbours that would overlap.
fn fit(layer: &[usize], cells: &[Cell], wishes: &[(f64, f64)]) -> Vec<f64> {
    let mut from_first = Vec::with_capacity(layer.len());
    let mut offset = 0.0;
    for (place, index) in layer.iter().enumerate() {
        offset += place.checked_sub(1).map_or(0.0, |before| distance(&cells[layer[before]], &cells[*index]));
        from_first.push(offset);
    }
    // Pools: their place, weight and size.
    let mut pools: Vec<(f64, f64, usize)> = Vec::new();
    for ((wish, weight), offset) in wishes.iter().zip(&from_first) {
        pools.push((wish - offset, *weight, 1));
        while let [.., (a, a_weight, a_size), (b, b_weight, b_size)] = pools[..]
            && a > b
        {
            pools.truncate(pools.len() - 2);
            let weight = a_weight + b_weight;
            pools.push(((a * a_weight + b * b_weight) / weight, weight, a_size + b_size));
        }
    }
    let places = pools.into_iter().flat_map(|(place, _, size)| std::iter::repeat_n(place, size));
    places.zip(from_first).map(|(place, offset)| place + offset).collect()
}

fn placed(
    items: usize,
    cells: &[Cell],
    layers: &[Vec<usize>],
    layer_of: Vec<usize>,
    chains: Vec<Option<(Vec<usize>, Option<usize>)>>,
) -> Placed {
    let left = cells.iter().map(|c| c.x - c.width / 2.0).fold(f64::INFINITY, f64::min);
    let right = cells.iter().map(|c| c.x + c.width / 2.0).fold(f64::NEG_INFINITY, f64::max);
    let (left, width) = if cells.is_empty() { (0.0, 0.0) } else { (left, right - left) };
    let mut rows = Vec::with_capacity(layers.len());
    let mut y = 0.0;
    for (number, layer) in layers.iter().enumerate() {
        let labels = layer.iter().any(|index| cells[*index].height > 0.0 && !cells[*index].item);
        let height = layer.iter().map(|index| cells[*index].height).fold(0.0, f64::max);
        // A label stands close below what it belongs to.
        y += if number == 0 {
            0.0
        } else if labels {
            14.0
        } else {
            34.0
        };
        rows.push(Layer { top: y, bottom: y + height });
        y += height;
    }
    let spot = |index: usize, whole: bool| {
        let (cell, row) = (&cells[index], rows[cells[index].layer]);
        let bottom = if whole { row.bottom } else { row.top + cell.height };
        Spot { x: cell.x - left, top: row.top, bottom }
    };
    let routes = chains.into_iter().map(|chain| match chain {
        None => Route::Beside,
        Some((by, label)) => {
            let label = label.and_then(|at| by.get(at)).map(|index| spot(*index, false));
            Route::Down { by: by.into_iter().map(|index| spot(index, true)).collect(), label }
        }
    });
    let mut free = vec![false; items];
    for last in layers.iter().filter_map(|layer| layer.last()).filter(|index| **index < items) {
        free[*last] = true;
    }
    Placed {
        width,
        height: y,
        items: (0..items).map(|index| spot(index, false)).collect(),
        routes: routes.collect(),
        layer_of,
        layers: rows,
        free,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOX: Item = Item { width: 100.0, height: 40.0, group: 0, last: false };

    fn edge(from: usize, to: usize) -> Edge {
        Edge { from: Some(from), to: Some(to), offset: 0.0, label: None }
    }

    #[test]
    fn a_chain_is_a_straight_column() {
        let placed = layout(&[BOX; 4], &[edge(0, 1), edge(1, 2), edge(2, 3)]);
        assert_eq!(placed.layer_of, [0, 1, 2, 3]);
        assert!(placed.items.iter().all(|spot| (spot.x - 50.0).abs() < 0.01), "{:?}", placed.items);
        assert!(placed.items.windows(2).all(|pair| pair[0].bottom < pair[1].top));
    }

    #[test]
    fn boxes_of_a_layer_never_overlap_and_lines_keep_away_from_boxes() {
        // 0 leads to 1, 2 and 3; those to 4; and 0 past them all to 4, and 4 back to 0.
        let edges = [edge(0, 1), edge(0, 2), edge(0, 3), edge(1, 4), edge(2, 4), edge(3, 4), edge(0, 4), edge(4, 0)];
        let placed = layout(&[BOX; 5], &edges);
        assert_eq!(placed.layer_of, [0, 1, 1, 1, 2]);
        let mut middles: Vec<f64> = placed.items[1..4].iter().map(|spot| spot.x).collect();
        assert!(matches!(placed.routes[7], Route::Beside));
        let Route::Down { by, label: None } = &placed.routes[6] else { panic!("{:?}", placed.routes[6]) };
        assert_eq!(by.len(), 1);
        middles.sort_by(f64::total_cmp);
        assert!(middles.windows(2).all(|pair| pair[1] - pair[0] >= 130.0 - 0.01), "{middles:?}");
        assert!(middles.iter().all(|middle| (middle - by[0].x).abs() >= 68.0 - 0.01), "{middles:?} {by:?}");
    }

    #[test]
    fn labels_have_room_of_their_own() {
        let labelled = |to| Edge { label: Some((120.0, 16.0)), ..edge(0, to) };
        let placed = layout(&[BOX; 3], &[labelled(1), labelled(2)]);
        let spots: Vec<Spot> = placed
            .routes
            .iter()
            .map(|route| match route {
                Route::Down { label: Some(spot), .. } => *spot,
                other => panic!("{other:?}"),
            })
            .collect();
        assert!((spots[0].x - spots[1].x).abs() >= 138.0 - 0.01, "{spots:?}");
        assert!(spots.iter().all(|s| s.top > placed.items[0].bottom && s.bottom < placed.items[1].top));
    }

    #[test]
    fn lines_that_cross_are_turned() {
        // In the order of the document, 0 → 4 and 1 → 3 would cross.
        let items = [BOX; 5];
        let head = |to| Edge { from: None, ..edge(0, to) };
        let placed = layout(&items, &[head(0), head(1), head(2), edge(0, 4), edge(1, 3)]);
        let x = |index: usize| placed.items[index].x;
        assert!((x(0) < x(1)) == (x(4) < x(3)), "{:?}", placed.items);
    }
}
