/// Dumps of SGLang's dumper: one file for each value, whose tags are its name, or, of the older one, one for each pass
/// (``SGLangHookFile``).
///
/// - The call is `step`. The layer is the tag `layer_id`, else that of the name (``SGLangPlace``).
/// - Every other tag of the caller, a `recompute_status` that is not `disabled`, and the `duplicate_index` of values
///   that were dumped again under the same tags keep values apart: `q[head=1,duplicate_index=1]` is a stage.
/// - What a file says of itself stands above its name, as for SGLang's own loader; where its step, rank or index
///   contradict the name, it is not taken.
enum SGLangLayout {
  private struct File {
    var entry: DirectoryWalk.Entry
    var name: SGLangFileName
    /// 0-based, by `dump_index`, among the files of one folder whose other tags are equal.
    var duplicateIndex = 0
  }

  /// Nil where no file's name is one of this layout.
  static func load(
    _ root: String, _ walk: DirectoryWalk, times: [String: Int64], verifyChecksums: Bool
  ) -> DumpSet? {
    var files: [File] = []
    var passes: [(entry: DirectoryWalk.Entry, name: SGLangHookFile)] = []
    var unrecognised = walk.others
    for entry in walk.files {
      if let name = SGLangFileName(path: entry.path) {
        files.append(File(entry: entry, name: name))
      } else if let name = SGLangHookFile(path: entry.path) {
        passes.append((entry, name))
      } else {
        unrecognised.append(entry.path)
      }
    }
    guard !files.isEmpty || !passes.isEmpty else { return nil }
    var ledger = CaptureLedger(
      DumpSet(root: root, layout: .sglang, captures: [], unreadable: walk.unreadable, unrecognised: unrecognised))
    number(&files)
    var known: Set<CaptureMetadata> = []
    for file in files where ledger.admits(rank: file.name.rank, of: file.entry.path) {
      do throws(DumpError) {
        let dump = try DumpFileReader.read(path: "\(root)/\(file.entry.path)", verifyChecksums: verifyChecksums)
        let modified = times[file.entry.path] ?? file.entry.modified
        add(SGLangContent(dump), of: file, modified: modified, to: &ledger, &known)
      } catch {
        ledger.note(file.entry.path, error.reason)
      }
    }
    for (entry, name) in passes where ledger.admits(rank: name.rank, of: entry.path) {
      do throws(DumpError) {
        let dump = try DumpFileReader.read(path: "\(root)/\(entry.path)", verifyChecksums: verifyChecksums)
        ledger.add(dump, of: name, file: entry.path, modified: times[entry.path] ?? entry.modified)
      } catch {
        ledger.note(entry.path, error.reason)
      }
    }
    return ledger.set
  }

  /// Counts values that were dumped again under the same tags.
  private static func number(_ files: inout [File]) {
    files.sort { ($0.name.dumpIndex, $0.entry.path) < ($1.name.dumpIndex, $1.entry.path) }
    var counts: [SGLangFileName: Int] = [:]
    for i in files.indices {
      var tags = files[i].name
      tags.dumpIndex = 0
      files[i].duplicateIndex = counts[tags, default: 0]
      counts[tags, default: 0] += 1
    }
  }

  private static func add(
    _ content: SGLangContent, of file: File, modified: Int64, to ledger: inout CaptureLedger,
    _ known: inout Set<CaptureMetadata>
  ) {
    let path = file.entry.path
    for value in content.skipped { ledger.note(path, "\(value.name): \(value.why)") }
    if let contradiction = contradiction(file.name, content.meta ?? [:]) {
      return ledger.note(path, contradiction)
    }
    var (stated, problems) = content.metadata()
    for problem in problems { ledger.note(path, problem) }
    // Thousands of files say the same: one copy of it.
    let tags = Tags(file.name, meta: content.meta ?? [:], duplicateIndex: file.duplicateIndex)
    let place = tags.place
    stated.parallel.merge(tags.parallel) { own, _ in own }
    let metadata =
      content.meta == nil && tags.parallel.isEmpty ? nil : known.insert(stated).memberAfterInsert
    ledger.add(
      content.tensors.map { tensor in
        let metadata = content.metadata(of: tensor.name, stated: metadata)
        var tensor = tensor
        tensor.name = place.tensor + tensor.name
        return Capture(
          rank: file.name.rank, layer: place.layer, stage: place.stage, call: file.name.step, tensor: tensor,
          file: path, modified: modified, metadata: metadata)
      })
    ledger.add(
      content.plain.map {
        PlainCapture(
          rank: file.name.rank, layer: place.layer, stage: place.stage, call: file.name.step,
          name: place.tensor + $0.name, value: $0.value, file: path)
      })
    if content.tensors.isEmpty, content.skipped.isEmpty, content.plain.isEmpty {
      ledger.note(path, "the dumped value holds nothing")
    }
  }

  /// Where a file denies its own name, which somebody has changed or cut.
  private static func contradiction(_ name: SGLangFileName, _ meta: [String: Scalar]) -> String? {
    for (key, number) in [("step", name.step), ("rank", name.rank), ("dump_index", name.dumpIndex)] {
      if let stated = meta[key], stated != .int(number) {
        return "its name says \(key) \(number), and its meta \(stated.text.clipped); give it the name it was written "
          + "with"
      }
    }
    // A name that contains the separator and an equals sign is cut in the file's name.
    if case .string(let stated)? = meta["name"],
      !stated.filter({ $0 != "/" }).hasPrefix(name.name.filter { $0 != "/" })
    {
      return "its name says name \(name.name.clipped), and its meta \(stated.clipped); give it the name it was written "
        + "with"
    }
    return nil
  }

  /// What tells a value from the others of its rank and step.
  private struct Tags {
    var place: SGLangPlace
    /// Where the rank stands on the axes whose rank and size are tags.
    var parallel: [String: ParallelRank] = [:]

    init(_ file: SGLangFileName, meta: [String: Scalar], duplicateIndex: Int) {
      var name = file.name
      if case .string(let stated)? = meta["name"] { name = stated }
      place = SGLangPlace(name)
      // A part of the name that looks like a tag is none.
      var tags = file.tags.filter { meta[$0.key] != nil || !name.contains("___\($0.key)=") }
      if let layer = tags["layer_id"], !layer.isEmpty, layer.utf8.allSatisfy(\.isDigit), let number = Int(layer) {
        place.layer = number
        tags["layer_id"] = nil
      }
      // The rank stands for these.
      for axis in ["pp", "tp", "cp", "ep", "etp"] {
        let rank = tags.removeValue(forKey: "\(axis)_rank").flatMap { Int($0) }
        let size = tags.removeValue(forKey: "\(axis)_size").flatMap { Int($0) }
        guard let rank, let size, (0..<max(size, 0)).contains(rank) else { continue }
        parallel[axis] = ParallelRank(rank: rank, size: size)
      }
      var marks = tags.sorted { $0.key < $1.key }.map { "\($0.key)=\($0.value)" }
      if let status = file.recomputeStatus, status != "disabled" { marks.append("recompute_status=\(status)") }
      if place.isGradient { marks.append("grad") }
      if duplicateIndex > 0 { marks.append("duplicate_index=\(duplicateIndex)") }
      if !marks.isEmpty { place.stage += "[\(marks.joined(separator: ","))]" }
    }
  }
}
