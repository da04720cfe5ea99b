/// Finds and catalogues the dumps under one directory.
public enum DumpSetLoader {
  /// Walks `directory` and reads the header of every dump file of `layout`.
  ///
  /// A broken file or value becomes an `unreadable` entry, an unknown name an `unrecognised` one; both cost only
  /// themselves. Where two files hold the same capture, the second is `unreadable` and says so.
  ///
  /// - Parameters:
  ///   - modificationTimes: nanoseconds since 1970 by path relative to `directory`, where a manifest knows better
  ///     than the file system.
  ///   - verifyChecksums: as in ``DumpFileReader/read(path:verifyChecksums:)``; a tensor whose bytes do not fit is
  ///     `unreadable`. Off, no tensor's bytes are read.
  ///   - pattern: the regular expression of the `custom` layout, with named groups `rank`, `layer`, `stage`, `call`;
  ///     it must match a file's whole name, or its whole path in `directory` where it contains `/`.
  ///   - isStored: `directory` is that of a run in a store, where `rank3/` or `shared/` stands before each producer's path:
  ///     these are no part of names.
  /// - Throws: where the directory is missing, is a file, holds no dump of the layout at all, or those of two runs.
  public static func load(
    directory: String, layout: DumpLayout, modificationTimes: [String: Int64]? = nil, verifyChecksums: Bool = true,
    pattern: String? = nil, isStored: Bool = false
  ) throws(DumpError) -> DumpSet {
    let times = modificationTimes ?? [:]
    var loaded: DumpSet
    switch layout {
    case .sglang, .msprobe, .huggingFace:
      let root = withoutTrailingSlashes(directory)
      let walk = try DirectoryWalk(root)
      let set =
        switch layout {
        case .sglang: SGLangLayout.load(root, walk, times: times, verifyChecksums: verifyChecksums)
        case .huggingFace: HuggingFaceLayout.load(root, walk, times: times, verifyChecksums: verifyChecksums)
        default: MSProbeLayout.load(root, walk, times: times, verifyChecksums: verifyChecksums)
        }
      guard let set else { throw nothingFound(root, layout, walk) }
      loaded = set
      loaded.namedWorldSize = max(set.namedWorldSize, (ranks(unreadable: walk).max() ?? -1) + 1)
      loaded.files = walk.files.map(\.path)
    case .atom, .weights, .safetensors, .npy, .custom:
      let contents = try files(
        in: directory, layout: layout, verifyChecksums: verifyChecksums, pattern: pattern, isStored: isStored)
      var ledger = CaptureLedger(
        DumpSet(
          root: contents.root, layout: layout, captures: [], unreadable: contents.broken,
          unrecognised: contents.unrecognised))
      for file in contents.files { ledger.add(file, modified: times[file.entry.path] ?? file.entry.modified) }
      loaded = ledger.set
      loaded.setLastCallsApart()
      loaded.namedWorldSize = (contents.ranks.max() ?? -1) + 1
      loaded.files = contents.paths
    }
    if let rivals = RivalRuns.first(of: loaded.rivals, among: loaded.files) { throw rivals.error(loaded.root) }
    loaded.areChecksumsVerified = verifyChecksums
    return loaded
  }

  /// A file whose name the layout knows, with its header.
  struct File {
    var entry: DirectoryWalk.Entry
    var name: DumpFileName
    var dump: DumpFile
  }

  struct Contents {
    var root: String
    var files: [File]
    /// Files and directories that gave nothing at all.
    var broken: [Unreadable]
    var unrecognised: [String]
    /// Of all regular files.
    var paths: [String]
    /// By which files are named, also those that gave nothing.
    var ranks: Set<Int> = []
  }

  /// The layout's files under a directory, in the order of their paths.
  static func files(
    in directory: String, layout: DumpLayout, verifyChecksums: Bool = true, pattern: String? = nil,
    isStored: Bool = false
  ) throws(DumpError) -> Contents {
    let parse: (DirectoryWalk.Entry) -> DumpFileName?
    switch layout {
    case .atom: parse = { DumpFileName(forward: $0.name) }
    case .weights: parse = { DumpFileName(weights: $0.name) }
    case .safetensors: parse = { $0.name.hasSuffix(".safetensors") ? DumpFileName(anyFile: $0) : nil }
    case .npy:
      parse = { $0.name.hasSuffix(".npy") || $0.name.hasSuffix(".npz") ? DumpFileName(anyFile: $0) : nil }
    case .custom:
      guard let pattern else {
        throw DumpError(
          code: .unsupported, file: directory,
          message: "the layout custom needs a pattern (dumps.pattern in the job file)")
      }
      parse = try CustomPattern(pattern, directory: directory).name(of:)
    case .sglang, .msprobe, .huggingFace:
      throw DumpError(
        code: .unsupported, file: directory,
        message: "the files of the layout \(layout.rawValue) are not told by their names alone")
    }
    let root = withoutTrailingSlashes(directory)
    let walk = try DirectoryWalk(root)
    var contents = Contents(
      root: root, files: [], broken: walk.unreadable, unrecognised: walk.others, paths: walk.files.map(\.path),
      ranks: ranks(unreadable: walk))
    let indexes = layout == .safetensors ? contents.readIndexes(walk) : [:]
    var strays: Set<String> = []
    if layout == .safetensors {
      let paths = walk.files.filter { $0.name.hasSuffix(".safetensors") }.map(\.path)
      let gaps = ShardGaps.unreadable(paths, indexed: Set(indexes.keys))
      strays = Set(gaps.map(\.file)).intersection(paths)
      contents.broken += gaps
    }
    var isEmpty = indexes.isEmpty
    for entry in walk.files where indexes[entry.path] != .index {
      // A pattern tells the rank itself.
      guard let name = parse(isStored ? entry.asProduced(withRank: layout != .custom) : entry) else {
        contents.unrecognised.append(entry.path)
        continue
      }
      isEmpty = false
      if let why = DumpSet.refusal(rank: name.rank) {
        contents.broken.append(Unreadable(file: entry.path, why: why))
        continue
      }
      contents.ranks.insert(name.rank)
      if strays.contains(entry.path) { continue }
      do throws(DumpError) {
        let dump: DumpFile
        if case .shard(let index, let shard) = indexes[entry.path] {
          dump = try index.read(shard)
        } else {
          dump = try DumpFileReader.read(path: "\(root)/\(entry.path)", verifyChecksums: verifyChecksums)
        }
        contents.files.append(File(entry: entry, name: name, dump: dump))
      } catch {
        contents.broken.append(Unreadable(file: entry.path, why: error.reason))
      }
    }
    guard !isEmpty else { throw nothingFound(root, layout, walk) }
    return contents
  }

  /// By which directories that cannot be opened, and links that lead nowhere, are named.
  private static func ranks(unreadable walk: DirectoryWalk) -> Set<Int> {
    Set(walk.unreadable.map { RankMark($0.file.withoutExtension).rank }.filter { DumpSet.refusal(rank: $0) == nil })
  }

  static func withoutTrailingSlashes(_ path: String) -> String {
    var path = path
    while path.count > 1, path.hasSuffix("/") { path.removeLast() }
    return path
  }

  private static func nothingFound(_ root: String, _ layout: DumpLayout, _ walk: DirectoryWalk) -> DumpError {
    let expectation: String? =
      switch layout {
      case .safetensors: "no .safetensors file"
      case .npy: "no .npy or .npz file"
      case .custom: "no file that the pattern matches wholly"
      case .sglang:
        "no file of SGLang's dumper (step=…___rank=…___dump_index=…___name=….pt, or TP…_PP…_Rank…_pid…/Pass….pt)"
      case .msprobe: "no dump of msprobe (step<n>/rank<n>/dump.json)"
      case .huggingFace: "no tree of transformers' model debugger (…\(HuggingFaceTree.suffix))"
      case .atom, .weights: nil
      }
    if let expectation {
      let found = walk.files.first.map { "there are other files (\(walk.files.count)), for instance \($0.path)" }
      return DumpError(
        code: .noDumps, file: root,
        message: "\(expectation) under this directory: \(found ?? "it holds no file at all"); did you mean the parent, "
          + "or another --layout?")
    }
    let isWeights = layout == .weights
    let expected =
      isWeights
      ? "no weight dump file (weight_rankR_layerL.pt)" : "no ATOM dump file (layerNN_Class_rankR.pt)"
    let other = walk.files.first {
      isWeights ? DumpFileName(forward: $0.name) != nil : DumpFileName(weights: $0.name) != nil
    }
    let hint: String
    if let other {
      hint = "\(other.path) looks like --layout \(isWeights ? "atom" : "weights")"
    } else if let first = walk.files.first {
      hint =
        "there \(walk.files.count == 1 ? "is 1 file" : "are \(walk.files.count) files"), for instance "
        + "\(first.path); did you mean the parent, or --layout \(isWeights ? "atom" : "weights")?"
    } else if let broken = walk.unreadable.first {
      hint = "\(broken.file.isEmpty ? "it" : broken.file): \(broken.why)"
    } else {
      hint = "it holds no file at all; did the run write its dumps elsewhere, or did you mean the parent?"
    }
    return DumpError(code: .noDumps, file: root, message: "\(expected) under this directory: \(hint)")
  }
}

/// What a file has to do with a safetensors index.
private enum IndexRole: Equatable {
  case index
  case shard(SafetensorsIndex, String)
}

extension DumpSetLoader.Contents {
  /// Reads every index of a directory: the roles of the files, by path. A missing shard is noted with its tensors.
  fileprivate mutating func readIndexes(_ walk: DirectoryWalk) -> [String: IndexRole] {
    var roles: [String: IndexRole] = [:]
    let present = Set(walk.files.map(\.path))
    for entry in walk.files where entry.name.hasSuffix(SafetensorsIndex.suffix) {
      roles[entry.path] = .index
      do throws(DumpError) {
        let index = try SafetensorsIndex(FileHandle(path: "\(root)/\(entry.path)"))
        let folder = entry.path.dropLast(entry.name.count)
        for shard in index.names {
          if present.contains(folder + shard) {
            roles[folder + shard] = .shard(index, shard)
          } else {
            let names = (index.shards[shard] ?? []).sorted()
            broken.append(
              Unreadable(
                file: folder + shard,
                why: "the shard is missing, and with it \(names.count) tensors of \(entry.path): "
                  + names.prefix(8).joined(separator: ", ") + (names.count > 8 ? ", …" : "")))
          }
        }
      } catch {
        broken.append(Unreadable(file: entry.path, why: error.reason))
      }
    }
    return roles
  }
}

extension DumpSet {
  /// Why a file of this rank, by its name, is not read; nil where it is.
  static func refusal(rank: Int) -> String? {
    rank < worldLimit ? nil : "its name says rank \(rank), and no more than \(worldLimit) ranks are taken; rename it"
  }

  /// Ranks that wrote at least one capture, in order.
  public var ranks: [Int] { Set(captures.map(\.rank)).sorted() }

  /// One more than the largest rank that a capture or the name of a file has; 0 for an empty set. Ranks that wrote
  /// nothing are not seen: what must be there is for the job to say.
  public var worldSizeSeen: Int { max((captures.map(\.rank).max() ?? -1) + 1, namedWorldSize) }
}
