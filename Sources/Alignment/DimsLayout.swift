public import Dumps

/// One side's ranks under a dims text: the tensors as the text views them, and the layouts that it allows.
struct DimsLayout {
  /// Squeezed and, where the other side asks for it, reordered; positions are those of the ranks.
  var tensors: [Tensor]
  /// More than one where the text leaves the sequences' lengths open.
  var layouts: [ShardLayout]
  /// What was done, in words.
  var notes: [String]
}

/// Applies dims texts: which ranks are slices, terms or copies, from the text and each rank's place on the parallel
/// axes.
///
/// The order is that of SGLang's comparator: data-parallel ranks without elements are set aside, copies are
/// collapsed (and their bytes compared later), then dimensions left to right, their axes right to left.
struct DimsPlanner {
  /// Layer, stage and tensor.
  var place: String
  var dims: DimsText
  /// The ranks' metadata, in rank order; all nil where the dump has none.
  var metadata: [CaptureMetadata?]

  private typealias Axis = DimsText.ParallelAxis

  /// One logical tensor on the way from ranks to the whole.
  private struct Item {
    /// Rank on each axis that is still to be joined.
    var coordinates: [String: Int]
    var layout: ShardLayout
  }

  /// The dimensions of this side and of the other, brought to one order; this side's dimensions afterwards.
  ///
  /// - Parameter other: the other side's text; nil where it has none, and nothing is reordered.
  func plan(_ tensors: [Tensor], matching other: DimsText?) throws(AlignmentError) -> DimsLayout {
    var notes: [String] = []
    let kept = try withoutEmptyGroups(tensors, &notes)
    var dims = dims
    var views = tensors
    for part in kept {
      guard tensors[part].shape.count == dims.dimensions.count else {
        throw failure(
          "the text names \(dims.dimensions.count) dimensions and the tensor has shape \(tensors[part].shape); name "
            + "every dimension, 1 for one of size 1")
      }
    }
    try squeeze(&views, kept, &dims)
    if let other { try rearrange(&views, kept, &dims, to: other) }
    let items = try items(views, kept, dims)
    return DimsLayout(tensors: views, layouts: try joined(items, dims, metadata[kept[0]]), notes: notes)
  }

  private func failure(_ message: String) -> AlignmentError {
    AlignmentError(
      code: .ruleMismatch, place: place, message: "dims “\(dims.text)”: \(message); or give compare.shard for the stage"
    )
  }

  // MARK: views

  private func squeeze(_ views: inout [Tensor], _ kept: [Int], _ dims: inout DimsText) throws(AlignmentError) {
    for axis in dims.dimensions.indices.reversed() where dims.dimensions[axis].isSqueezed {
      for part in kept {
        guard let view = views[part].squeezed(axis) else {
          throw failure("dimension \(axis) is called 1 and has \(views[part].shape[axis]) elements")
        }
        views[part] = view
      }
      dims.dimensions.remove(at: axis)
    }
  }

  /// Brings this side to an order that both sides can take: the reference to the target's, and what either side
  /// fuses is fused on both.
  private func rearrange(
    _ views: inout [Tensor], _ kept: [Int], _ dims: inout DimsText, to other: DimsText
  ) throws(AlignmentError) {
    let mine = dims.dimensions.map { $0.names.map(Self.canonical) }
    let theirs = other.dimensions.filter { !$0.isSqueezed }.map { $0.names.map(Self.canonical) }
    guard Set(mine.joined()) == Set(theirs.joined()) else {
      throw failure("the other side's dimensions are “\(other.text)”; both sides must name the same ones")
    }
    // One group for every dimension of the result, in the other side's order.
    var groups: [[String]] = []
    for names in theirs {
      let fused = mine.first { $0.count > names.count && names.allSatisfy($0.contains) } ?? names
      if fused != groups.last, !groups.contains(fused) { groups.append(fused) }
    }
    guard groups.joined().count == mine.joined().count else {
      throw failure("dimensions are fused otherwise than in the other side's “\(other.text)”")
    }
    var order: [Int] = []
    var merged: [(range: Range<Int>, dimension: DimsText.Dimension)] = []
    for group in groups {
      let start = order.count
      if let whole = mine.firstIndex(of: group) {
        order.append(whole)
        merged.append((start..<start + 1, dims.dimensions[whole]))
        continue
      }
      let members = group.compactMap { name in mine.firstIndex(of: [name]) }
      guard members.count == group.count else {
        throw failure("dimensions are fused otherwise than in the other side's “\(other.text)”")
      }
      guard members.dropFirst().allSatisfy({ dims.dimensions[$0].modifiers.isEmpty }) else {
        throw failure("only the first of the dimensions \(group.joined(separator: "*")) can be sharded and fused")
      }
      order += members
      merged.append(
        (start..<order.count, DimsText.Dimension(names: group, modifiers: dims.dimensions[members[0]].modifiers)))
    }
    for part in kept {
      guard var view = views[part].permuted(order) else {
        throw failure("the dimensions do not match those of the other side's “\(other.text)”")
      }
      for item in merged.reversed() where item.range.count > 1 {
        guard let flat = view.flattened(item.range) else {
          throw failure("shape \(views[part].shape) cannot be viewed as “\(other.text)” without a copy")
        }
        view = flat
      }
      views[part] = view
    }
    dims.dimensions = merged.map(\.dimension)
  }

  /// `s` and `t` both count tokens.
  private static func canonical(_ name: String) -> String { name == "s" ? "t" : name }

  // MARK: places

  private var hasPlaces: Bool { metadata.contains { !($0?.parallel.isEmpty ?? true) } }

  private func rank(_ part: Int, on axis: String) -> ParallelRank? { metadata[part]?.parallel[axis] }

  /// Ranks of the one data-parallel group that has elements, all where there is no such axis.
  private func withoutEmptyGroups(_ tensors: [Tensor], _ notes: inout [String]) throws(AlignmentError) -> [Int] {
    let all = Array(tensors.indices)
    let axis = dims.dataParallelAlias ?? "dp"
    if let alias = dims.dataParallelAlias, hasPlaces, all.contains(where: { rank($0, on: alias) == nil }) {
      throw failure("dp:=\(alias) names an axis that the dump's metadata does not have on every rank")
    }
    let isDeclared = (dims.sharded.map(\.axis) + dims.replicated).contains { $0.rawValue == axis }
    guard !isDeclared, all.allSatisfy({ (rank($0, on: axis)?.size ?? 1) > 1 }), all.count > 1 else { return all }
    let groups = Dictionary(grouping: all) { rank($0, on: axis)?.rank ?? 0 }
    let full = groups.filter { $0.value.contains { tensors[$0].elementCount > 0 } }.keys.sorted()
    guard full.count == 1, let only = full.first, let kept = groups[only] else {
      throw failure(
        full.isEmpty
          ? "no data-parallel group has elements"
          : "the data-parallel ranks \(full.map(String.init).joined(separator: ", ")) of \(axis) all hold elements, and "
            + "each its own sequences; compare one group, or declare # dp:replicated")
    }
    if groups.count > 1 { notes.append("\(axis) rank \(only) alone has elements") }
    return kept.sorted()
  }

  /// Every rank with its place on the axes that the text names, checked for being complete.
  private func items(_ views: [Tensor], _ kept: [Int], _ dims: DimsText) throws(AlignmentError) -> [Item] {
    let declared = (dims.sharded.map(\.axis) + dims.replicated).map(\.rawValue)
    func leaf(_ part: Int) -> ShardLayout { .whole(views[part].shape, kind: .single, part: part) }
    if kept.count == 1 {
      for axis in declared { try checkComplete(axis, [rank(kept[0], on: axis)].compactMap { $0 }) }
      return [Item(coordinates: [:], layout: leaf(kept[0]))]
    }
    guard hasPlaces else {
      guard declared.count == 1 else {
        throw failure(
          declared.isEmpty
            ? "\(kept.count) ranks hold it and no axis is named; add [tp] to a dimension, or # tp:replicated"
            : "the dump does not say where its \(kept.count) ranks stand on \(declared.joined(separator: " and ")); name "
              + "one axis")
      }
      return kept.enumerated().map { Item(coordinates: [declared[0]: $0.offset], layout: leaf($0.element)) }
    }
    var used: [String] = []
    for axis in declared {
      let places = kept.compactMap { rank($0, on: axis) }
      let isActive = places.contains { $0.size > 1 }
      if !isActive {
        if dims.replicated.contains(where: { $0.rawValue == axis }) {
          throw failure("\(axis):replicated is declared and \(axis) has one rank in this dump; remove it")
        }
        continue
      }
      guard places.count == kept.count else {
        throw failure("the metadata of \(kept.count - places.count) ranks do not say where they stand on \(axis)")
      }
      try checkComplete(axis, places)
      used.append(axis)
    }
    let pseudo = Axis.recomputePseudo.rawValue
    if !used.contains(pseudo), kept.allSatisfy({ (rank($0, on: pseudo)?.size ?? 1) > 1 }) { used.append(pseudo) }
    try checkOthers(kept, used)
    var seen: [[Int]: Int] = [:]
    return try kept.map { part throws(AlignmentError) in
      var coordinates: [String: Int] = [:]
      for axis in used { coordinates[axis] = rank(part, on: axis)?.rank }
      let key = used.compactMap { coordinates[$0] }
      if let other = seen.updateValue(part, forKey: key) {
        let axes = used.isEmpty ? "no axis of the text" : used.joined(separator: ", ")
        throw failure("rank positions \(other) and \(part) stand at the same place on \(axes)")
      }
      return Item(coordinates: coordinates, layout: leaf(part))
    }
  }

  /// Every rank of an axis must be there, as the ranks themselves say.
  private func checkComplete(_ axis: String, _ places: [ParallelRank]) throws(AlignmentError) {
    guard let size = places.first?.size else { return }
    guard places.allSatisfy({ $0.size == size }) else {
      throw failure("the ranks disagree about the size of \(axis)")
    }
    let missing = Set(0..<min(size, 1 << 16)).subtracting(places.map(\.rank)).sorted()
    guard missing.isEmpty else {
      throw failure("\(axis) has \(size) ranks; missing: \(missing.prefix(8).map(String.init).joined(separator: ", "))")
    }
  }

  /// Every other axis with more than one rank must follow from one that the text names, or from all of them.
  private func checkOthers(_ kept: [Int], _ used: [String]) throws(AlignmentError) {
    let names = Set(kept.flatMap { metadata[$0].map { Array($0.parallel.keys) } ?? [] }).subtracting(used)
    for axis in names.sorted() where Set(kept.map { rank($0, on: axis)?.rank }).count > 1 {
      let sources = used.map { [$0] } + (used.count > 1 ? [used] : [])
      let isImplied = sources.contains { source in
        var image: [[Int?]: Int?] = [:]
        return kept.allSatisfy { part in
          let key = source.map { rank(part, on: $0)?.rank }
          let value = rank(part, on: axis)?.rank
          return (image.updateValue(value, forKey: key) ?? value) == value
        }
      }
      guard isImplied else {
        throw failure(
          "the axis \(axis) has \(rank(kept[0], on: axis)?.size ?? 0) ranks in this dump and the text says nothing of it; "
            + "add [\(axis)] to a dimension, or # \(axis):replicated")
      }
    }
  }

  // MARK: joining

  private func joined(
    _ items: [Item], _ dims: DimsText, _ metadata: CaptureMetadata?
  ) throws(AlignmentError) -> [ShardLayout] {
    var items = items
    let used = Set(items.flatMap(\.coordinates.keys))
    let copies = Set(dims.replicated.map(\.rawValue) + [Axis.recomputePseudo.rawValue]).intersection(used)
    for axis in copies.sorted() {
      items = try step(items, axis) { children throws(AlignmentError) in
        var layout = children[0]
        guard children.allSatisfy({ $0.shape == layout.shape }) else {
          throw failure("\(axis) is declared replicated and its ranks' shapes differ: \(children.map(\.shape))")
        }
        layout.copies = children.flatMap(\.copies) + [children.map { ShardLayout.Slice(part: $0.firstPart) }]
        if layout.kind == .single { layout.kind = .replicated }
        return layout
      }
    }
    // The lengths of packed sequences are seldom in the metadata; each guess is a layout of its own.
    var results = [items]
    for (index, dimension) in dims.dimensions.enumerated() {
      for (place, modifier) in dimension.modifiers.enumerated().reversed() where used.contains(modifier.axis.rawValue) {
        let axis = modifier.axis.rawValue
        if modifier.isZigzag, place > 0 {
          throw failure("zigzag must stand first on its dimension: t[\(axis):zigzag,…]")
        }
        var next: [[Item]] = []
        for items in results {
          for lengths in sequences(items, axis, index, dimension, modifier, metadata) {
            let made = try? step(items, axis) { children throws(AlignmentError) in
              try join(children, modifier, axis: index, sequences: lengths)
            }
            if let made { next.append(made) }
          }
        }
        if next.isEmpty {
          // Say why with the plain reading.
          _ = try step(results[0], axis) { children throws(AlignmentError) in
            try join(children, modifier, axis: index, sequences: nil)
          }
          throw failure(
            "dimension \(index) of shape \(results[0][0].layout.shape) does not divide into the chunks of \(axis)")
        }
        results = next
      }
    }
    return try results.map { items throws(AlignmentError) in
      guard items.count == 1, let only = items.first else {
        throw failure("the axes that it names leave \(items.count) tensors; name every parallel axis")
      }
      return only.layout
    }
  }

  /// Joins the items of each group that differ on one axis only.
  private func step(
    _ items: [Item], _ axis: String, _ join: ([ShardLayout]) throws(AlignmentError) -> ShardLayout
  ) throws(AlignmentError) -> [Item] {
    var groups: [[String: Int]: [Item]] = [:]
    var order: [[String: Int]] = []
    for item in items {
      var rest = item.coordinates
      rest[axis] = nil
      if groups[rest] == nil { order.append(rest) }
      groups[rest, default: []].append(item)
    }
    let size = groups.values.map(\.count).max() ?? 0
    return try order.map { rest throws(AlignmentError) in
      let group = (groups[rest] ?? []).sorted { ($0.coordinates[axis] ?? 0) < ($1.coordinates[axis] ?? 0) }
      guard group.count == size, group.enumerated().allSatisfy({ $0.element.coordinates[axis] == $0.offset }) else {
        throw failure("the ranks on \(axis) are not complete in every group of the other axes")
      }
      return Item(coordinates: rest, layout: try join(group.map(\.layout)))
    }
  }

  /// Whole lengths of the packed sequences to try; [nil] where there is one reading only.
  private func sequences(
    _ items: [Item], _ axis: String, _ index: Int, _ dimension: DimsText.Dimension, _ modifier: DimsText.Modifier,
    _ metadata: CaptureMetadata?
  ) -> [[Int]?] {
    let isTokens = dimension.names == ["t"] || dimension.names == ["s"]
    guard isTokens, modifier.axis == .cp, !modifier.isPartial, let first = items.first else { return [nil] }
    // Of the ranks that differ on this axis alone; a sequence need not divide over them.
    var whole = 0
    for item in items where item.coordinates.allSatisfy({ $0.key == axis || first.coordinates[$0.key] == $0.value }) {
      let (sum, overflow) = whole.addingReportingOverflow(item.layout.shape[index])
      guard !overflow else { return [nil] }
      whole = sum
    }
    if dimension.names == ["s"] { return [modifier.isZigzag ? [whole] : nil] }
    var stated: [Int] = []
    while let text = metadata?.values["seq_lens[\(stated.count)]"], let length = Int(text), length >= 0 {
      stated.append(length)
    }
    if !stated.isEmpty { return [stated] }
    var guesses: [[Int]?] = modifier.isZigzag ? [[whole]] : [nil]
    for count in ShardHypotheses.sequenceCounts where whole % count == 0 {
      guesses.append(Array(repeating: whole / count, count: count))
    }
    return guesses
  }

  private func join(
    _ children: [ShardLayout], _ modifier: DimsText.Modifier, axis: Int, sequences: [Int]?
  ) throws(AlignmentError) -> ShardLayout {
    let shapes = children.map(\.shape)
    let base: ShardLayout?
    if modifier.isPartial {
      base = shapes.allSatisfy { $0 == shapes[0] } ? .sum(shapes[0], ranks: shapes.count) : nil
    } else if let sequences {
      base = .contextParallel(shapes, axis: axis, sequences: sequences, zigzag: modifier.isZigzag)
    } else {
      base = .concat(shapes, axis: axis)
    }
    guard var layout = base else {
      throw failure("the shapes \(shapes) cannot be joined along \(modifier.axis.rawValue)")
    }
    layout.copies = children.flatMap(\.copies)
    if children.allSatisfy({ $0.inner.isEmpty && $0.axis == nil && $0.pieces.count == 1 }) {
      layout.pieces = layout.pieces.map { piece in
        ShardLayout.Piece(part: children[piece.part].firstPart, start: piece.start, count: piece.count)
      }
    } else {
      layout.inner = children
    }
    return layout
  }
}

extension DimsText {
  /// The whole tensor of ranks that lie as the text says.
  ///
  /// - Parameters:
  ///   - tensors: in rank order.
  ///   - metadata: what the producers wrote beside them, in the same order; all nil where there is nothing.
  /// - Throws: `AlignmentError` where ranks or shapes contradict the text, or it leaves more than one way.
  public func joined(
    _ tensors: [Tensor], metadata: [CaptureMetadata?], place: String
  ) throws -> LogicalTensor {
    let plan = try DimsPlanner(place: place, dims: self, metadata: metadata).plan(tensors, matching: nil)
    guard let layout = plan.layouts.first, plan.layouts.count == 1 else {
      throw AlignmentError(
        code: .ruleMismatch, place: place,
        message: "the dims text “\(text)” leaves \(plan.layouts.count) ways to join the ranks; only data can decide")
    }
    return try LogicalTensor(parts: plan.tensors, layout: layout, place: place)
  }
}
