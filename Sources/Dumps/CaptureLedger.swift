/// Collects the captures of a set, each place once.
struct CaptureLedger {
  private(set) var set: DumpSet
  /// The file that wrote each place.
  private var owners: [Place: String] = [:]
  /// Of the file that captures came from last.
  private var claims = (file: "", budget: RepetitionBudget())

  /// What may stand in a set only once.
  private struct Place: Hashable {
    var rank: Int
    var layer: Int?
    var stage: String
    var call: Int?
    var tensor: String
  }

  init(_ set: DumpSet) { self.set = set }

  /// Adds what one file holds. Where another file holds a capture of the same place, the later one is named; so is a
  /// tensor whose reading would never end.
  mutating func add(_ captures: [Capture]) {
    var collision: (capture: Capture, owner: String)?
    var colliding: [String] = []
    for capture in captures {
      if claims.file != capture.file { claims = (capture.file, RepetitionBudget()) }
      do throws(DumpError) {
        try claims.budget.take(capture.tensor)
      } catch {
        note(capture.file, error.reason, values: [capture.tensor.name])
        continue
      }
      let place = Place(
        rank: capture.rank, layer: capture.layer, stage: capture.stage, call: capture.call,
        tensor: capture.tensor.name)
      if let owner = owners[place] {
        collision = (capture, owner)
        colliding.append(capture.tensor.name)
        noteRivals(owner, capture.file)
      } else {
        owners[place] = capture.file
        set.captures.append(capture)
        if let size = capture.metadata?.statedWorldSize { noteWorldSize(size) }
      }
    }
    if let (capture, owner) = collision {
      set.unreadable.append(
        Unreadable(
          file: capture.file,
          why: "holds the same captures (layer \(capture.layer.map(String.init) ?? "none"), \(capture.stage), "
            + "rank \(capture.rank)) as \(owner), which was taken; keep each side and each run in a directory of its "
            + "own", values: colliding))
    }
  }

  /// Two files, or folders of files (ending in `/`), that hold the same captures.
  mutating func noteRivals(_ owner: String, _ other: String) {
    if let rivals = RivalRuns(owner, other) { set.rivals.insert(rivals) }
  }

  /// A rank by which a file is named: it wrote, whether or not that can be read.
  ///
  /// - Returns: false, and names the file, where no world is as large as that.
  mutating func admits(rank: Int, of file: String) -> Bool {
    if let why = DumpSet.refusal(rank: rank) {
      note(file, why)
      return false
    }
    set.namedWorldSize = max(set.namedWorldSize, rank + 1)
    return true
  }

  /// What one file says of how many ranks there are.
  private mutating func noteWorldSize(_ size: Int) {
    guard size > 0 else { return }
    set.statedWorldSize = max(set.statedWorldSize ?? 0, min(size, DumpSet.worldLimit))
  }

  mutating func add(_ values: [PlainCapture]) { set.plain += values }

  mutating func add(_ values: [StatisticsCapture]) { set.statistics += values }

  mutating func note(_ file: String, _ why: String, values: [String]? = nil) {
    set.unreadable.append(Unreadable(file: file, why: why, values: values))
  }

  mutating func add(_ file: DumpSetLoader.File, modified: Int64) {
    let (entry, name, dump) = (file.entry, file.name, file.dump)
    for value in dump.skipped { note(entry.path, "\(value.name): \(value.why)", values: [value.name]) }
    // ATOM's weight files count the ranks of the whole run by it.
    if case .int(let size) = dump.scalar("_tp_size") { noteWorldSize(size) }
    add(
      dump.tensors.map { tensor in
        var tensor = tensor
        let place = name.place(of: tensor.name)
        let metadata = dump.metadata[tensor.name]
        tensor.name = place.tensor
        return Capture(
          rank: name.rank, layer: place.layer, stage: place.stage, call: name.call, tensor: tensor, file: entry.path,
          modified: modified, metadata: metadata, holdsLastCall: name.holdsLastCall)
      })
    add(
      dump.scalars.compactMap { scalar in
        // ATOM writes the shape of `hidden` beside it: nothing that the tensor does not say.
        if set.layout == .atom, scalar.name.hasPrefix("shape[") { return nil }
        let place = name.place(of: scalar.name)
        return PlainCapture(
          rank: name.rank, layer: place.layer, stage: place.stage, call: name.call,
          name: name.tensors == .stages ? scalar.name : place.tensor, value: scalar.value, file: entry.path)
      })
    // A file without its main value says less than its name; a damaged value is named above.
    if set.layout == .atom, name.tensors == .values, !dump.tensors.contains(where: { $0.name == "hidden" }),
      !dump.skipped.contains(where: { $0.name == "hidden" })
    {
      note(
        entry.path, "holds no tensor hidden, as what ATOM's hooks write does; dumps of your own need --layout custom",
        values: dump.tensors.isEmpty && dump.skipped.isEmpty ? nil : ["hidden"])
    } else if dump.tensors.isEmpty, dump.skipped.isEmpty {
      note(entry.path, "holds no tensor")
    }
  }
}
