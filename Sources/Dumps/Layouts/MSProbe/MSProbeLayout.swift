/// Dumps of msprobe: an index `dump.json` and a file for each tensor, in one folder for each step and rank.
///
/// - The index says what there is; a tensor of which it has statistics alone is named, never compared. Files that an
///   index does not name, since it was cut or never written, are placed by their own names, and that is said.
/// - Calls: where one step was dumped, the n-th run of a module in it; where several were, the step; where modules ran
///   several times in several steps, `step · 1,000,000 + n`.
enum MSProbeLayout {
  static let callsPerStep = 1_000_000

  /// Nil where no folder looks like one of this layout.
  static func load(
    _ root: String, _ walk: DirectoryWalk, times: [String: Int64], verifyChecksums: Bool
  ) -> DumpSet? {
    let (folders, others) = MSProbeFolder.find(walk, root: root)
    guard !folders.isEmpty else { return nil }
    var ledger = CaptureLedger(
      DumpSet(
        root: root, layout: .msprobe, captures: [], unreadable: walk.unreadable, unrecognised: walk.others + others))
    let parts = ranked(folders, &ledger).map { folder, rank in
      Part(root: root, folder: folder, rank: rank, verifyChecksums: verifyChecksums, ledger: &ledger)
    }
    let calls = Calls(parts)
    for part in parts { part.add(to: &ledger, calls: calls, times: times) }
    return ledger.set
  }

  /// The folders whose rank is known. A process without a rank is rank 0 where it is alone in its step.
  private static func ranked(
    _ folders: [MSProbeFolder], _ ledger: inout CaptureLedger
  ) -> [(folder: MSProbeFolder, rank: Int)] {
    var result: [(folder: MSProbeFolder, rank: Int)] = []
    var owners: [[Int?]: String] = [:]
    let perStep = Dictionary(grouping: folders, by: \.step).mapValues(\.count)
    for folder in folders {
      let rank: Int
      switch folder.owner {
      case .rank(let number):
        guard ledger.admits(rank: number, of: folder.path) else { continue }
        rank = number
      case .unnamed: rank = 0
      case .process:
        guard perStep[folder.step] == 1 else {
          ledger.note(
            folder.path,
            "which rank this process was is unknown, and its step has other folders; rename it rank<n>")
          continue
        }
        rank = 0
      }
      if let owner = owners[[folder.step, rank]] {
        ledger.noteRivals(owner + "/", folder.path + "/")
        ledger.note(
          folder.path, "is the same step and rank as \(owner), which was taken; keep each run in a directory of its own"
        )
        continue
      }
      owners[[folder.step, rank]] = folder.path
      result.append((folder, rank))
    }
    return result
  }

  /// How the calls of a whole dump are numbered.
  private struct Calls {
    private let hasSteps: Bool
    private let hasCounts: Bool

    init(_ parts: [Part]) {
      hasSteps = Set(parts.map(\.folder.step)).count > 1
      hasCounts = parts.contains { $0.largestCount > 0 }
    }

    func call(_ operation: MSProbeOperation, step: Int?) -> Int {
      let count = operation.count ?? 0
      guard hasSteps, let step else { return count }
      guard hasCounts else { return step }
      let (start, isLarge) = step.multipliedReportingOverflow(by: callsPerStep)
      let (call, overflow) = start.addingReportingOverflow(min(count, callsPerStep - 1))
      return isLarge || overflow ? step : call
    }
  }

  /// One folder's index and files, read.
  private struct Part {
    var folder: MSProbeFolder
    var rank: Int
    var statistics: [(leaf: MSProbeIndex.Leaf, file: String)] = []
    var plain: [(value: MSProbeIndex.Plain, file: String)] = []
    var tensors:
      [(operation: MSProbeOperation, tensor: Tensor, entry: DirectoryWalk.Entry, metadata: CaptureMetadata?)] = []

    var largestCount: Int {
      let counts =
        statistics.map(\.leaf.operation.count) + plain.map(\.value.operation.count) + tensors.map(\.operation.count)
      return counts.compactMap(\.self).max() ?? 0
    }

    init(root: String, folder: MSProbeFolder, rank: Int, verifyChecksums: Bool, ledger: inout CaptureLedger) {
      self.folder = folder
      self.rank = rank
      if let log = folder.errorLog {
        ledger.note(log, "msprobe met errors while it dumped, and this log has them; what they concern may be missing")
      }
      var unnamed = folder.data
      var damage: String?
      for entry in folder.indexes {
        let index: MSProbeIndex
        do throws(DumpError) {
          index = try MSProbeIndex(path: "\(root)/\(entry.path)")
        } catch {
          damage = error.reason
          continue
        }
        damage = damage ?? index.damage
        for problem in index.problems { ledger.note(entry.path, problem) }
        plain += index.plain.map { ($0, entry.path) }
        for leaf in index.leaves {
          guard let name = leaf.dataName else {
            statistics.append((leaf, entry.path))
            continue
          }
          guard let data = folder.data[name] else {
            ledger.note(
              entry.path,
              "\(leaf.operation.place) \(leaf.tensor): its file \(name.clipped) is not in \(MSProbeFolder.dataFolder)")
            continue
          }
          unnamed[name] = nil
          read(data, leaf.operation, leaf.tensor, root, verifyChecksums, leaf: leaf, &ledger)
        }
      }
      addUnnamed(unnamed, damage: damage, root, verifyChecksums, &ledger)
    }

    /// Files that no index names.
    private mutating func addUnnamed(
      _ files: [String: DirectoryWalk.Entry], damage: String?, _ root: String, _ verifyChecksums: Bool,
      _ ledger: inout CaptureLedger
    ) {
      for entry in files.values.sorted(by: { $0.name.utf8.lexicographicallyPrecedes($1.name.utf8) }) {
        guard let (operation, tensor) = MSProbeOperation.file(entry.name.withoutExtension) else {
          ledger.note(entry.path, "no index names this file, and its name is not that of an operation's tensor")
          continue
        }
        read(entry, operation, tensor, root, verifyChecksums, leaf: nil, &ledger)
      }
      let index = folder.indexes.first?.path ?? (folder.path.isEmpty ? "dump.json" : "\(folder.path)/dump.json")
      let rest = files.isEmpty ? "" : "; \(files.count) files that it does not name were read by their names"
      if let damage {
        ledger.note(index, damage + rest)
      } else if folder.indexes.isEmpty {
        ledger.note(index, "is missing: did the run die?" + rest)
      } else if !files.isEmpty {
        ledger.note(index, "is not complete: did the run die?" + rest)
      }
    }

    private mutating func read(
      _ entry: DirectoryWalk.Entry, _ operation: MSProbeOperation, _ name: String, _ root: String,
      _ verifyChecksums: Bool, leaf: MSProbeIndex.Leaf?, _ ledger: inout CaptureLedger
    ) {
      let dump: DumpFile
      do throws(DumpError) {
        dump = try DumpFileReader.read(path: "\(root)/\(entry.path)", verifyChecksums: verifyChecksums)
      } catch {
        return ledger.note(entry.path, error.reason)
      }
      for value in dump.skipped { ledger.note(entry.path, "\(value.name): \(value.why)") }
      for scalar in dump.scalars {
        plain.append((MSProbeIndex.Plain(operation: operation, name: name, value: scalar.value), entry.path))
      }
      if dump.tensors.isEmpty, dump.skipped.isEmpty { ledger.note(entry.path, "holds no tensor") }
      for tensor in dump.tensors {
        let metadata = dump.metadata[tensor.name]
        // Of a DTensor the index may have the shape of the whole, and the file has a part.
        if let leaf, dump.tensors.count == 1, metadata == nil, let contradiction = leaf.contradiction(tensor) {
          ledger.note(entry.path, contradiction)
          continue
        }
        var tensor = tensor
        tensor.name = dump.tensors.count == 1 ? name : "\(name).\(tensor.name)"
        tensors.append((operation, tensor, entry, metadata))
      }
    }

    func add(to ledger: inout CaptureLedger, calls: Calls, times: [String: Int64]) {
      for (operation, tensor, entry, metadata) in tensors {
        ledger.add([
          Capture(
            rank: rank, layer: operation.layer, stage: operation.stage,
            call: calls.call(operation, step: folder.step), tensor: tensor, file: entry.path,
            modified: times[entry.path] ?? entry.modified, metadata: metadata)
        ])
      }
      ledger.add(
        plain.map { value, file in
          PlainCapture(
            rank: rank, layer: value.operation.layer, stage: value.operation.stage,
            call: calls.call(value.operation, step: folder.step), name: value.name, value: value.value, file: file)
        })
      ledger.add(
        statistics.map { leaf, file in
          StatisticsCapture(
            rank: rank, layer: leaf.operation.layer, stage: leaf.operation.stage,
            call: calls.call(leaf.operation, step: folder.step), tensor: leaf.tensor, dtype: leaf.dtype,
            shape: leaf.shape, maximum: leaf.maximum, minimum: leaf.minimum, mean: leaf.mean, norm: leaf.norm,
            checksum: leaf.checksum, file: file)
        })
      noteStatistics(&ledger, calls: calls)
    }

    /// Statistics by operation: they prove nothing equal, so each is named. A tensor without elements gets no file, and
    /// there is nothing to prove of it.
    private func noteStatistics(_ ledger: inout CaptureLedger, calls: Calls) {
      var lines: [(place: String, file: String, tensors: [String])] = []
      for (leaf, file) in statistics where !leaf.shape.contains(0) {
        let place = "\(leaf.operation.place) call \(calls.call(leaf.operation, step: folder.step))"
        if lines.last?.place == place, lines.last?.file == file {
          lines[lines.count - 1].tensors.append(leaf.tensor)
        } else {
          lines.append((place, file, [leaf.tensor]))
        }
      }
      for line in lines {
        ledger.note(
          line.file,
          "\(line.place): only statistics of \(line.tensors.joined(separator: ", ")), which prove nothing equal; dump "
            + "with task tensor")
      }
    }
  }
}

extension MSProbeOperation {
  /// For messages.
  fileprivate var place: String { "\(layer.map { "layer \($0) " } ?? "")\(stage)" }
}

extension MSProbeIndex.Leaf {
  /// Where a file is not what its index says.
  fileprivate func contradiction(_ tensor: Tensor) -> String? {
    guard tensor.shape == shape else {
      return "its index says shape \(shape), and it has \(tensor.shape): it is of another run, or was overwritten"
    }
    // NumPy has no bfloat16 and no float8, so such arrays stand as wider or other types.
    guard !tensor.storage.path.hasSuffix(".npy"),
      let stated = DType(torchName: dtype.dropped(prefix: "torch.") ?? dtype), stated != tensor.dtype
    else { return nil }
    return "its index says \(dtype), and it has \(tensor.dtype.rawValue): it is of another run, or was overwritten"
  }
}
