import Alignment
import ArgumentParser
import Coordination
import Dumps
import Foundation
import Glibc

/// `rollcall unshard DIR -o OUT`: the logical tensors of a sharded run, as one safetensors file.
struct UnshardCommand: AsyncParsableCommand, HasJSONOutput {
  static let configuration = CommandConfiguration(
    commandName: "unshard",
    abstract: "Join the ranks of every dumped tensor and write them as safetensors.",
    discussion: """
      How the ranks lie comes from --rule, else from the data of --reference, a dump of one rank, else from the dims
      text that the dump itself states. Nothing is guessed:
      what no rule and no data decide, and what lacks a rank, is listed with the reason and not written.

      A tensor is called layer.LAYER.STAGE.TENSOR, with .call.N where the dump counts calls. Partial sums are added in
      double precision and written as float32 (float64 where the ranks hold that).

      Exit code 0 where everything was joined, 2 where something was not.

      Example: rollcall unshard dumps/tp2 -o tp2.safetensors --rule Block=replicated --rule QKV=-1 --rule MoE=partial
      """)

  @Argument(help: "The dump directory of a run.", completion: .directory)
  var directory: String

  @Option(name: .shortAndLong, help: "The safetensors file to write.", completion: .file(extensions: ["safetensors"]))
  var output: String

  @Option(
    name: .long,
    help: """
      STAGE=AXIS, STAGE=partial, STAGE=replicated, STAGE=blocks:4096,1024,1024, STAGE=heads:q32,kv8 (both of the last \
      axis, or of axis 0 with @0 behind them) or STAGE=dims:TEXT with SGLang's text for the dimensions; a negative axis \
      counts from the last. STAGE is a regular expression for the whole of STAGE or STAGE.TENSOR. Repeatable; the first that fits counts.
      """)
  var rule: [UnshardRule] = []

  @Option(
    name: .long, help: "A dump of the same run on one rank, to find out how ranks lie.", completion: .directory)
  var reference: String?

  @Option(name: .long, help: "Layout of the dump directory (default: as the files' names say).")
  var layout: DumpLayout?

  @Option(
    name: .long,
    help: "Ranks that must be there (default: as many as the dumps state, or the highest rank seen says).")
  var worldSize: Int?

  @Flag(name: .long, help: "Print one JSON document on standard output.")
  var json = false

  var wantsJSON: Bool { json }

  func validate() throws {
    try WorldSizeOption.check(worldSize, "--world-size")
  }

  func run() async throws {
    for folder in [directory] + [reference].compactMap(\.self) { try checkOutput(isNoFileOf: folder) }
    let file = try Console.replaceable(output, "-o")
    let dumps = try StoredDumps.load(
      directory: directory, layout: layout ?? DumpSetLoader.detectLayout(directory: directory))
    let seen = dumps.set.worldSizeSeen
    let stated = dumps.set.statedWorldSize ?? 0
    let world = worldSize ?? max(dumps.worldSize ?? 0, seen, stated)
    guard seen <= world else {
      throw UsageError(message: "--world-size is \(world), but rank \(seen - 1) is there")
    }
    if world < stated {
      Console.error("The dumps state a world of \(stated) ranks; only the \(world) of --world-size are demanded.")
    }
    let reference = try reference.map {
      try StoredDumps.load(directory: $0, layout: layout ?? DumpSetLoader.detectLayout(directory: $0)).set
    }
    let joiner = Unsharder(
      rules: rule, worldSize: world, reference: reference.map(Unsharder.group),
      damaged: Set((reference?.unreadable ?? []).map(\.file)))
    var rows: [UnshardRow] = []
    var joined: [(name: String, tensor: LogicalTensor)] = []
    let progress = ByteProgress()
    let places = Unsharder.group(dumps.set).sorted { $0.key < $1.key }
    for (number, (place, ranks)) in places.enumerated() {
      var row = UnshardRow(place)
      progress.show("\(number + 1) of \(places.count): how the ranks of \(row.name) lie", done: 0, total: 0)
      do {
        let (tensor, plan) = try joiner.join(place, ranks)
        row.shard = plan
        row.dtype = joiner.writtenType(of: tensor)
        row.shape = tensor.shape
        joined.append((row.name, tensor))
      } catch let refusal as Unsharder.Refusal {
        (row.shard, row.why) = (refusal.plan, refusal.why)
      } catch let error as AlignmentError {
        row.why = error.message
      } catch let error as DumpError {
        row.why = "not read: \(error.description)"
      }
      rows.append(row)
    }
    progress.end()
    if !joined.isEmpty {
      do { try write(joined, by: joiner, to: file) } catch let error as DumpError where error.file.hasPrefix(file) {
        throw OutputError(message: "Cannot write \(error.description)")
      }
    }
    let report = UnshardReport(
      written: joined.isEmpty ? nil : UnshardReport.Written(path: output, tensors: joined.count), rows: rows,
      unreadable: dumps.set.unreadable, unrecognised: dumps.set.unrecognised,
      overlookedCount: dumps.set.overlooked.count)
    Console.print(json ? try JSONText.of(report) : report.text)
    if !report.isComplete { throw ExitCode(2) }
  }

  /// - Throws: `UsageError` where the output is, by whatever path, a file that is read here or beside those.
  private func checkOutput(isNoFileOf folder: String) throws {
    var place = stat()
    guard stat(output, &place) == 0 else { return }
    let found = try DumpFolder(folder)
    for file in found.files + found.indexes + found.others {
      var other = stat()
      guard stat("\(folder)/\(file)", &other) == 0, other.st_dev == place.st_dev, other.st_ino == place.st_ino else {
        continue
      }
      throw UsageError(message: "-o \(output) is \(file) of \(folder), which would be lost; name another file")
    }
  }

  /// Block by block, so that memory stays flat whatever the tensors' sizes.
  private func write(_ joined: [(name: String, tensor: LogicalTensor)], by joiner: Unsharder, to file: String) throws {
    let writer = try SafetensorsWriter(
      path: file,
      entries: joined.map { .init(name: $0.name, dtype: joiner.writtenType(of: $0.tensor), shape: $0.tensor.shape) },
      metadata: ["writer": "rollcall"])
    let tensors = Dictionary(uniqueKeysWithValues: joined.map { ($0.name, $0.tensor) })
    let progress = ByteProgress()
    defer { progress.end() }
    let total = writer.entries.reduce(0) { $0 + $1.shape.reduce($1.dtype.byteCount, *) }
    var done = 0
    for entry in writer.entries {
      guard let tensor = tensors[entry.name] else { continue }
      var reader = try tensor.makeReader()
      var bytes: [UInt8] = []
      var values: [Double] = []
      let step = 1 << 17
      for start in stride(from: 0, to: tensor.elementCount, by: step) {
        let range = start..<min(start + step, tensor.elementCount)
        if tensor.isSum {
          try reader.read(range, bytes: &bytes, values: &values)
          bytes.removeAll(keepingCapacity: true)
          for value in values {
            if entry.dtype == .float64 {
              withUnsafeBytes(of: value.bitPattern.littleEndian) { bytes.append(contentsOf: $0) }
            } else {
              withUnsafeBytes(of: Float(value).bitPattern.littleEndian) { bytes.append(contentsOf: $0) }
            }
          }
        } else {
          try reader.readBytes(range, into: &bytes)
        }
        try writer.append(bytes)
        done += bytes.count
        progress.show("writing \(entry.name)", done: done, total: total)
      }
    }
    try writer.finish()
  }
}

/// `--rule`.
struct UnshardRule: ExpressibleByArgument {
  var pattern: String
  var rule: ShardRule

  init?(argument: String) {
    // Dims texts contain equals signs, too.
    let marks = ["=blocks:", "=heads:", "=dims:"].compactMap { argument.firstRange(of: $0)?.lowerBound }
    guard let equals = marks.min() ?? argument.lastIndex(of: "="), equals != argument.startIndex else { return nil }
    pattern = String(argument[..<equals])
    guard (try? Regex(pattern)) != nil else { return nil }
    let text = String(argument[argument.index(after: equals)...])
    if let rule = Self.mark(text) {
      self.rule = rule
      return
    }
    switch text {
    case "partial": rule = .partial
    case "replicated": rule = .replicated
    case let text:
      guard let axis = Int(text) else { return nil }
      rule = .concat(axis: axis)
    }
  }

  /// `blocks:…`, `heads:…` and `dims:…`; nil for what is none of them, or malformed.
  private static func mark(_ text: String) -> ShardRule? {
    guard let colon = text.firstIndex(of: ":") else { return nil }
    let kind = text[..<colon]
    let value = String(text[text.index(after: colon)...])
    if kind == "dims" { return (try? DimsText(value)).map { .dims($0) } }
    let halves = value.split(separator: "@", maxSplits: 1, omittingEmptySubsequences: false)
    guard let axis = halves.count == 2 ? Int(halves[1]) : -1 else { return nil }
    let words = halves[0].split(separator: ",", omittingEmptySubsequences: false)
    switch kind {
    case "blocks":
      let sizes = words.compactMap { Int($0) }.filter { $0 > 0 }
      return sizes.count == words.count ? .blocks(sizes: sizes, axis: axis) : nil
    case "heads":
      var heads = HeadRule(axis: axis)
      for word in words {
        if word.hasPrefix("kv"), let count = Int(word.dropFirst(2)), count > 0, heads.keyValue == nil {
          heads.keyValue = count
        } else if word.hasPrefix("q"), let count = Int(word.dropFirst()), count > 0, heads.query == nil {
          heads.query = count
        } else {
          return nil
        }
      }
      return .heads(heads)
    default: return nil
    }
  }

  func fits(_ key: CaptureKey) -> Bool {
    guard let pattern = try? Regex(pattern) else { return false }
    return [key.stage, "\(key.stage).\(key.tensor)"].contains { (try? pattern.wholeMatch(in: $0)) != nil }
  }
}

/// One tensor of the run, and what became of it.
private struct UnshardRow: Encodable {
  var place: Unsharder.Place
  var shard: ShardPlan?
  var dtype: DType?
  var shape: [Int]?
  /// Why it was not written.
  var why: String?

  init(_ place: Unsharder.Place) { self.place = place }

  /// Its name in the file.
  var name: String {
    var words = place.key.layer.map { ["layer", String($0)] } ?? []
    words += [place.key.stage, place.key.tensor]
    if let call = place.call { words += ["call", String(call)] }
    return words.joined(separator: ".")
  }

  var line: String {
    guard let shard, why == nil else { return "not written: \(name): \(why ?? "")" }
    let axis = shard.axis.map { " on axis \($0)" } ?? ""
    return "\(name)  \(dtype?.rawValue ?? "") \(shape ?? [])  \(shard.kind.rawValue)\(axis) (\(shard.why))"
  }

  private enum CodingKeys: String, CodingKey {
    case layer
    case stage
    case tensor
    case call
    case name
    case dtype
    case shape
    case shard
    case why
  }

  func encode(to encoder: any Encoder) throws {
    var container = encoder.container(keyedBy: CodingKeys.self)
    try container.encode(place.key.layer, forKey: .layer)
    try container.encode(place.key.stage, forKey: .stage)
    try container.encode(place.key.tensor, forKey: .tensor)
    try container.encode(place.call, forKey: .call)
    try container.encode(why == nil ? name : nil, forKey: .name)
    try container.encode(dtype, forKey: .dtype)
    try container.encode(shape, forKey: .shape)
    try container.encode(shard, forKey: .shard)
    try container.encode(why, forKey: .why)
  }
}

/// `rollcall.unshard/1`.
private struct UnshardReport: Encodable {
  struct Written: Encodable {
    var path: String
    var tensors: Int
  }

  var schema = "rollcall.unshard/1"
  var written: Written?
  var rows: [UnshardRow]
  var unreadable: [Unreadable]
  var unrecognised: [String]
  /// Of these, dumps that nobody read.
  var overlookedCount: Int

  var isComplete: Bool {
    unreadable.isEmpty && overlookedCount == 0 && !rows.isEmpty && rows.allSatisfy { $0.why == nil }
  }

  private enum CodingKeys: String, CodingKey {
    case schema
    case written
    case rows
    case unreadable
    case unrecognised
  }

  func encode(to encoder: any Encoder) throws {
    var container = encoder.container(keyedBy: CodingKeys.self)
    try container.encode(schema, forKey: .schema)
    try container.encode(written, forKey: .written)
    try container.encode(rows, forKey: .rows)
    try container.encode(unreadable, forKey: .unreadable)
    try container.encode(unrecognised, forKey: .unrecognised)
  }

  var text: String {
    var lines = rows.map(\.line)
    lines += unreadable.map { "unreadable: \($0.file): \($0.why)" }
    lines += unrecognised.map { "not a dump of the layout by its name: \($0)" }
    if overlookedCount > 0 { lines.append("dump files among these that nobody read: \(overlookedCount)") }
    lines.append(
      written.map { "\($0.tensors) of \(rows.count) tensors written to \($0.path)" } ?? "nothing was written")
    return lines.joined(separator: "\n")
  }
}
