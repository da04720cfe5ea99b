/// What stands in one file of SGLang's dumper: `{"value": …, "meta": {…}}`, or an older file's bare value.
struct SGLangContent {
  /// Names without their `value`: empty for the value itself, `.key` and `[0]` for what it holds.
  var tensors: [Tensor] = []
  var plain: [NamedScalar] = []
  var skipped: [SkippedValue] = []
  /// Nil for a bare value.
  var meta: [String: Scalar]?
  /// Parts of `meta` that are no plain values, with the reason.
  private var foreign: [String: String] = [:]
  /// What the tensors say of themselves (torch's DTensor), by the same names.
  private var placements: [String: CaptureMetadata] = [:]

  init(_ dump: DumpFile) {
    let names = dump.tensors.map(\.name) + dump.scalars.map(\.name) + dump.skipped.map(\.name)
    // A wrapped value that holds nothing has no name, and only the meta is left.
    let isWrapped =
      names.contains { Self.tail($0, after: "value") != nil }
      || !names.isEmpty && names.allSatisfy { $0.hasPrefix("meta.") }
    if isWrapped, names != ["value"] { meta = [:] }
    for tensor in dump.tensors {
      guard let name = place(tensor.name, isWrapped) else { continue }
      placements[name] = dump.metadata[tensor.name]
      var tensor = tensor
      tensor.name = name
      tensors.append(tensor)
    }
    for scalar in dump.scalars {
      if isWrapped, let key = scalar.name.dropped(prefix: "meta.") {
        meta?[key] = scalar.value
      } else if let name = place(scalar.name, isWrapped) {
        plain.append(NamedScalar(name: name, value: scalar.value))
      }
    }
    for value in dump.skipped {
      if isWrapped, !value.isDamaged, let key = value.name.dropped(prefix: "meta.") {
        foreign[key] = value.why
      } else {
        skipped.append(value)
      }
    }
  }

  /// The name without `value`; nil, and noted, for what stands beside value and meta.
  private mutating func place(_ name: String, _ isWrapped: Bool) -> String? {
    if let tail = Self.tail(name, after: "value") { return tail }
    guard isWrapped else { return name.hasPrefix("[") ? name : ".\(name)" }
    skipped.append(
      SkippedValue(name: name, why: "stands beside the dumped value, and is not compared", isDamaged: false))
    return nil
  }

  /// What the meta says of a tensor, and where it says nothing of the dimensions, what the tensor says itself; the meta
  /// counts where the two contradict each other.
  func metadata(of tensor: String, stated: CaptureMetadata?) -> CaptureMetadata? {
    guard let own = placements[tensor] else { return stated }
    guard let stated else { return own }
    let agree = own.parallel.allSatisfy { (stated.parallel[$0.key] ?? $0.value) == $0.value }
    guard stated.dims == nil, agree else { return stated }
    return CaptureMetadata(
      dims: own.dims, parallel: stated.parallel.merging(own.parallel) { stated, _ in stated },
      values: stated.values.merging(own.values) { stated, _ in stated })
  }

  private static func tail(_ name: String, after key: String) -> String? {
    guard name.hasPrefix(key) else { return nil }
    let tail = name.dropFirst(key.count)
    return tail.isEmpty || tail.first == "." || tail.first == "[" ? String(tail) : nil
  }

  /// What the file says of itself, without what its name says too, and what contradicts itself in it.
  func metadata() -> (metadata: CaptureMetadata, problems: [String]) {
    guard let meta else { return (CaptureMetadata(), []) }
    var values: [String: String] = foreign
    var dims: String?
    for (key, value) in meta where !["step", "rank", "dump_index", "name"].contains(key) {
      if key == "dims", case .string(let text) = value { dims = text } else { values[key] = value.text }
    }
    let (parallel, problems) = Self.parallel(meta)
    return (CaptureMetadata(dims: dims, parallel: parallel, values: values), problems)
  }

  /// Axes by the pairs `{axis}_rank` and `{axis}_size` of one engine's `…_parallel_info`, then of the meta itself.
  ///
  /// An engine that could not tell marks its dictionary with a key `…_error`; it says nothing then.
  private static func parallel(_ meta: [String: Scalar]) -> (axes: [String: ParallelRank], problems: [String]) {
    var problems: [String] = []
    var infos: [(engine: String, values: [String: Int])] = []
    for engine in ["sglang_parallel_info", "megatron_parallel_info"] {
      var values: [String: Int] = [:]
      var isKnown = true
      for (key, value) in meta {
        guard let key = key.dropped(prefix: "\(engine).") else { continue }
        if key.hasSuffix("_error") { isKnown = false }
        if case .int(let number) = value { values[key] = number }
      }
      if isKnown, !values.isEmpty { infos.append((engine, values)) }
    }
    if infos.count > 1 {
      problems.append("meta states both \(infos[0].engine) and \(infos[1].engine); which of them holds is unknown")
      infos = []
    }
    var outer: [String: Int] = [:]
    for (key, value) in meta where !key.contains(".") && !key.hasPrefix("world_") {
      if case .int(let number) = value { outer[key] = number }
    }
    var axes: [String: ParallelRank] = [:]
    for values in infos.map(\.values) + [outer] {
      for (key, rank) in values.sorted(by: { $0.key < $1.key }) where key.hasSuffix("_rank") {
        let axis = String(key.dropLast("_rank".count))
        guard axes[axis] == nil, let size = values["\(axis)_size"] else { continue }
        if (0..<max(size, 0)).contains(rank) {
          axes[axis] = ParallelRank(rank: rank, size: size)
        } else {
          problems.append("meta states rank \(rank) of \(size) on the axis \(axis)")
        }
      }
    }
    return (axes, problems)
  }
}

extension Scalar {
  /// As Python prints it.
  public var text: String {
    switch self {
    case .none: "None"
    case .bool(let flag): flag ? "True" : "False"
    case .int(let number): String(number)
    case .double(let number): String(number)
    case .string(let text): text
    }
  }
}

extension String {
  /// What follows `prefix`; nil where it lacks.
  func dropped(prefix: String) -> String? { hasPrefix(prefix) ? String(dropFirst(prefix.count)) : nil }
}
