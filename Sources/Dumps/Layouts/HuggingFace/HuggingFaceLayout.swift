/// Dumps of transformers' model debugger: one tree of modules, and with `use_repr=False` a file for each tensor.
///
/// - There are no calls: each forward pass overwrites the one before it.
/// - Only rank 0 writes. Where each rank has a folder of its own, its name says the rank (``RankMark``).
/// - Its tree leaves out middle layers and what modules with children give; their files are placed by their names.
/// - A module that ran several times in one pass has left the files of the last time; that is said.
/// - Of a tensor that was only printed there are statistics, which prove nothing equal.
enum HuggingFaceLayout {
  /// Nil where there is no tree.
  static func load(
    _ root: String, _ walk: DirectoryWalk, times: [String: Int64], verifyChecksums: Bool
  ) -> DumpSet? {
    let trees = walk.files.filter { isTree($0.name) }
    guard !trees.isEmpty else { return nil }
    let entries = Dictionary(walk.files.map { ($0.path, $0) }, uniquingKeysWith: { first, _ in first })
    var ledger = CaptureLedger(
      DumpSet(root: root, layout: .huggingFace, captures: [], unreadable: walk.unreadable, unrecognised: walk.others))
    var used: Set<String> = []
    var tails: [String: [String: String]] = [:]
    for entry in trees where ledger.admits(rank: RankMark(entry.folder).rank, of: entry.path) {
      do throws(DumpError) {
        let tree = try HuggingFaceTree(path: "\(root)/\(entry.path)")
        for problem in tree.problems { ledger.note(entry.path, problem) }
        tails[entry.folder, default: [:]].merge(tree.tails) { first, _ in first }
        add(tree, of: entry, root, entries, times, verifyChecksums, &ledger, &used)
      } catch {
        ledger.note(entry.path, error.reason)
      }
    }
    var others: [String] = []
    for entry in walk.files where !used.contains(entry.path) && !isTree(entry.name) {
      if let known = tails[entry.folder], entry.name.hasSuffix(HuggingFaceTree.fileSuffix),
        let (module, tensor) = HuggingFaceTree.place(ofFile: entry.name, tails: known)
      {
        // The tree leaves out the middle layers and what modules with children give.
        let leaf = HuggingFaceTree.Leaf(
          layer: module.layer, stage: module.stage(of: tensor), tensor: tensor, dtype: "", shape: [], file: entry.name,
          module: module.path)
        read(leaf, entry, isStated: false, root, times, verifyChecksums, &ledger)
      } else if !entry.name.hasSuffix(HuggingFaceTree.summarySuffix) {
        others.append(entry.path)
      }
    }
    var set = ledger.set
    set.unrecognised += others
    return set
  }

  static func isTree(_ name: String) -> Bool { name.hasSuffix(HuggingFaceTree.suffix) }

  private static func add(
    _ tree: HuggingFaceTree, of entry: DirectoryWalk.Entry, _ root: String,
    _ entries: [String: DirectoryWalk.Entry], _ times: [String: Int64], _ verifyChecksums: Bool,
    _ ledger: inout CaptureLedger, _ used: inout Set<String>
  ) {
    let rank = RankMark(entry.folder).rank
    ledger.add(
      tree.plain.map {
        PlainCapture(
          rank: rank, layer: $0.layer, stage: $0.stage, call: nil, name: $0.name, value: $0.value, file: entry.path)
      })
    // The last run of a module is the one whose files are there.
    var last: [String: Int] = [:]
    for (index, leaf) in tree.leaves.enumerated() { last[place(leaf)] = index }
    var printed: [String] = []
    for (index, leaf) in tree.leaves.enumerated() {
      guard last[place(leaf)] == index else {
        ledger.note(entry.path, "\(place(leaf)): the module ran several times; only the last values are there")
        continue
      }
      guard let name = leaf.file else {
        ledger.add([statistics(leaf, rank: rank, file: entry.path)])
        if !leaf.shape.contains(0) { printed.append(place(leaf)) }
        continue
      }
      guard let data = entries[entry.folder + name] else {
        ledger.note(entry.path, "\(place(leaf)): its file \(name.clipped) is not beside the tree")
        continue
      }
      used.insert(data.path)
      read(leaf, data, isStated: true, root, times, verifyChecksums, &ledger)
    }
    if let first = printed.first {
      ledger.note(
        entry.path,
        "\(printed.count) tensors were only printed (\(first), …), which proves nothing equal; dump with use_repr=False",
        values: printed)
    }
  }

  /// - Parameter isStated: the tree says type and shape.
  private static func read(
    _ leaf: HuggingFaceTree.Leaf, _ data: DirectoryWalk.Entry, isStated: Bool, _ root: String,
    _ times: [String: Int64], _ verifyChecksums: Bool, _ ledger: inout CaptureLedger
  ) {
    do throws(DumpError) {
      let dump = try DumpFileReader.read(path: "\(root)/\(data.path)", verifyChecksums: verifyChecksums)
      guard var tensor = dump.tensors.first, dump.tensors.count == 1 else {
        return ledger.note(data.path, "holds \(dump.tensors.count) tensors, and one should stand there")
      }
      let dtype = DType(torchName: leaf.dtype.dropped(prefix: "torch.") ?? leaf.dtype)
      guard !isStated || tensor.shape == leaf.shape && dtype == tensor.dtype else {
        return ledger.note(
          data.path,
          "the tree says \(leaf.dtype) \(leaf.shape), and it has \(tensor.dtype.rawValue) \(tensor.shape): it is of "
            + "another run, or was overwritten")
      }
      tensor.name = leaf.tensor
      ledger.add([
        Capture(
          rank: RankMark(data.folder).rank, layer: leaf.layer, stage: leaf.stage, call: nil, tensor: tensor,
          file: data.path, modified: times[data.path] ?? data.modified)
      ])
    } catch {
      ledger.note(data.path, error.reason)
    }
  }

  private static func place(_ leaf: HuggingFaceTree.Leaf) -> String {
    "\(leaf.layer.map { "layer \($0) " } ?? "")\(leaf.stage).\(leaf.tensor)"
  }

  private static func statistics(_ leaf: HuggingFaceTree.Leaf, rank: Int, file: String) -> StatisticsCapture {
    StatisticsCapture(
      rank: rank, layer: leaf.layer, stage: leaf.stage, call: nil, tensor: leaf.tensor, dtype: leaf.dtype,
      shape: leaf.shape, maximum: leaf.statistics["max"], minimum: leaf.statistics["min"],
      mean: leaf.statistics["mean"], file: file)
  }
}
