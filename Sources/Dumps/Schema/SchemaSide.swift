import Glibc

/// One side of a schema comparison before names are matched: a file, or the files of a directory with their ranks.
struct SchemaSide {
  private struct Part {
    var rank: Int
    var file: String
    /// Stands before the names of the file's tensors.
    var prefix = ""
    var dump: DumpFile
  }

  /// Tensors by name, without the parts of names that differ between engines, and by rank.
  struct Names {
    var order: [String] = []
    var tensors: [String: [Int: Tensor]] = [:]
    /// Ranks on which the value of a name could not be taken.
    var lost: [String: Set<Int>] = [:]
    var unreadable: [Unreadable] = []
  }

  let path: String
  /// A single file, whose rank is not asked for.
  let isFile: Bool
  /// In order; `[0]` for a file.
  private(set) var ranks: [Int] = [0]
  /// The world size that the dumps themselves state (`_tp_size` of ATOM's weight files).
  private(set) var statedWorldSize: Int?
  /// Ranks of that world, or by which broken files are named, of which nothing is here.
  private(set) var missingRanks: [Int] = []
  private(set) var names = Names()
  /// How many files of each rank were read.
  private var fileCounts: [Int: Int] = [:]
  /// Files that gave nothing at all; what they held is not known.
  private(set) var broken: [Unreadable] = []
  /// Files that are no dumps by their names.
  private(set) var unrecognised: [String] = []

  /// Reads the headers of a file, or of all files under a directory: ATOM's weight files, else safetensors (single or
  /// with an index), else `.npy` and `.npz`, else other files of torch.save.
  init(_ path: String, opening: (String) -> Void) throws(DumpError) {
    self.path = path
    var status = stat()
    isFile = !(stat(path, &status) == 0 && status.st_mode & S_IFMT == S_IFDIR)
    if isFile {
      opening(path)
      try add([Part(rank: 0, file: path, dump: try DumpFileReader.read(path: path))])
      return
    }
    opening(path)
    for layout in [DumpLayout.weights, .safetensors, .npy] {
      do throws(DumpError) {
        try take(try DumpSetLoader.files(in: path, layout: layout), layout)
        return
      } catch {
        guard error.code == .noDumps else { throw error }
      }
    }
    try takeTorchFiles(opening)
  }

  /// By which the files are named, also those that gave nothing.
  private var namedRanks: Set<Int> = []

  /// Names of this side may be missing only because a file was not read, or is not here.
  var hasLostFile: Bool { !broken.isEmpty || !missingRanks.isEmpty }

  /// Whether other ranks have more files than this one: what it lacks may be in a lost one.
  func mayLackFile(of rank: Int) -> Bool {
    fileCounts[rank, default: 0] < fileCounts.values.max() ?? 0
  }

  /// Whether a tensor holds the codes of a smaller type that bitsandbytes packs into another, whatever that says they
  /// are: their scales and their table stand beside them.
  func isPacked(_ name: String) -> Bool {
    names.tensors["\(name).absmax"] != nil && names.tensors["\(name).quant_map"] != nil
  }

  private mutating func take(_ contents: DumpSetLoader.Contents, _ layout: DumpLayout) throws(DumpError) {
    broken = contents.broken
    namedRanks = contents.ranks
    for file in contents.unrecognised {
      if DumpFolder.suffixes.contains(where: file.hasSuffix) {
        broken.append(
          Unreadable(
            file: file, why: "not compared: the directory's other files are of the layout \(layout.rawValue)"))
      } else {
        unrecognised.append(file)
      }
    }
    try add(
      contents.files.map { file in
        let stem = RankMark(file.entry.path.withoutExtension).rest
        return Part(
          rank: file.name.rank, file: file.entry.path, prefix: layout == .npy && !stem.isEmpty ? stem + "." : "",
          dump: file.dump)
      })
  }

  private mutating func takeTorchFiles(_ opening: (String) -> Void) throws(DumpError) {
    let walk = try DirectoryWalk(path)
    broken =
      walk.unreadable
      + ShardGaps.unreadable(
        walk.files.filter { DumpFolder.torchSuffixes.contains(where: $0.name.hasSuffix) }.map(\.path))
    unrecognised = walk.others
    var parts: [Part] = []
    for entry in walk.files {
      guard DumpFolder.torchSuffixes.contains(where: entry.name.hasSuffix) else {
        unrecognised.append(entry.path)
        continue
      }
      opening(entry.path)
      let name = DumpFileName(forward: entry.name).flatMap { $0.tensors == .values ? $0 : nil }
      let rank = name?.rank ?? RankMark(entry.path.withoutExtension).rank
      if let why = DumpSet.refusal(rank: rank) {
        broken.append(Unreadable(file: entry.path, why: why))
        continue
      }
      namedRanks.insert(rank)
      do throws(DumpError) {
        var part = Part(
          rank: rank, file: entry.path, dump: try DumpFileReader.read(path: "\(path)/\(entry.path)"))
        if let name {
          let layer = name.layer.map { "layer\($0)." } ?? ""
          part.prefix = layer + "\(name.stage)." + (name.call.map { "call\($0)." } ?? "")
        }
        parts.append(part)
      } catch {
        broken.append(Unreadable(file: entry.path, why: error.reason))
      }
    }
    guard !parts.isEmpty || !broken.isEmpty else {
      throw DumpError(
        code: .noDumps, file: path,
        message: "no dump of weights under this directory: no .pt, .safetensors, .npy or .npz file; "
          + (walk.files.first.map { "there are other files, for instance \($0.path)" } ?? "it holds no file at all"))
    }
    try add(parts)
  }

  private mutating func add(_ parts: [Part]) throws(DumpError) {
    var owners: [String: [Int: String]] = [:]
    var rivals: Set<RivalRuns> = []
    if !isFile { ranks = Set(parts.map(\.rank)).sorted() }
    names.unreadable = broken
    for part in parts {
      fileCounts[part.rank, default: 0] += 1
      if case .int(let size) = part.dump.scalar("_tp_size"), size > 0 {
        statedWorldSize = max(statedWorldSize ?? 0, size)
      }
      for value in part.dump.skipped where !Self.bookkeeping.contains(value.name) {
        names.lost[part.prefix + Self.bare(value.name), default: []].insert(part.rank)
        names.unreadable.append(Unreadable(file: part.file, why: "\(value.name): \(value.why)"))
      }
      for tensor in part.dump.tensors where !Self.bookkeeping.contains(tensor.name) {
        let name = part.prefix + Self.bare(tensor.name)
        if names.tensors[name] == nil { names.order.append(name) }
        if names.tensors[name]?[part.rank] == nil {
          names.tensors[name, default: [:]][part.rank] = tensor
          owners[name, default: [:]][part.rank] = part.file
        } else {
          if let owner = owners[name]?[part.rank], let found = RivalRuns(owner, part.file) { rivals.insert(found) }
          names.unreadable.append(Unreadable(file: part.file, why: "\(tensor.name): \(name) is there a second time"))
        }
      }
    }
    guard !isFile else { return }
    if let rivals = RivalRuns.first(of: rivals, among: parts.map(\.file)) { throw rivals.error(path) }
    let world = statedWorldSize ?? 0
    missingRanks = namedRanks.union(0..<min(world, DumpSet.worldLimit)).subtracting(ranks).sorted()
    // Of the others the files are named that cannot be read.
    let absent = missingRanks.filter { !namedRanks.contains($0) }
    guard !absent.isEmpty else { return }
    names.unreadable.append(
      Unreadable(
        file: path, why: "the dumps are of a world of \(world) ranks, and rank \(listed(absent)) is not there"))
  }

  /// What ATOM's weight files say of themselves.
  private static let bookkeeping: Set<String> = ["_tp_rank", "_tp_size", "_layer"]

  /// A leading `model.` is not part of a name, also behind `buffer:`.
  private static func bare(_ name: String) -> String {
    if name.hasPrefix("model.") { return String(name.dropFirst("model.".count)) }
    if name.hasPrefix("buffer:model.") { return "buffer:" + name.dropFirst("buffer:model.".count) }
    return name
  }
}

/// `1, 2, 3`; of many numbers the first and how many more.
func listed(_ numbers: [Int]) -> String {
  numbers.prefix(16).map(String.init).joined(separator: ", ") + (numbers.count > 16 ? ", … (\(numbers.count))" : "")
}
