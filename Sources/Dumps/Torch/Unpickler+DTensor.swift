/// torch's distributed tensors: a file holds one rank's part, and states how the whole lies over the mesh of ranks.
extension Unpickler {
  /// Instances whose state is kept: what a DTensor says of itself.
  static func isOfDistributedTensors(_ global: PickleGlobal) -> Bool {
    global.module.hasPrefix("torch.distributed.")
      && [
        "DTensorSpec", "DeviceMesh", "_MeshLayout", "_FlatLayout", "Shard", "_StridedShard", "Replicate", "Partial",
        "_Partial",
      ].contains(global.name)
  }

  /// The part that a DTensor's `state` holds, with what its placements say; nil where the state is another one.
  mutating func distributedTensor(class global: PickleGlobal, state: PickleValue) -> PickleValue? {
    guard global.module.hasPrefix("torch.distributed."), global.name == "DTensor",
      case .tensor(let part) = attribute("_local_tensor", of: state)
    else { return nil }
    var tensor = contents.tensors[part]
    if case .object(let spec) = attribute("_spec", of: state) {
      tensor.metadata = metadata(contents.objects[spec].state, rank: tensor.shape.count)
    }
    if let metadata = tensor.metadata {
      let texts = metadata.values.reduce(metadata.dims?.utf8.count ?? 0) { $0 + $1.value.utf8.count }
      contents.budget.take(8 * PickleBudget.allocation + texts + 2 * Self.entryCost + metadata.parallel.count * 64)
    }
    contents.tensors.append(tensor)
    return .tensor(contents.tensors.count - 1)
  }

  /// Entries of a state, extents of a mesh and letters of a name that are looked at: references let a small pickle
  /// ask for the same ones many times.
  private static let limit = 64

  /// A value of an object's state: a dictionary, or one for the slots behind another.
  private func attribute(_ name: String, of state: PickleValue) -> PickleValue? {
    switch state {
    case .dictionary(let index):
      guard contents.dictionaries[index].count <= Self.limit else { return nil }
      return contents.dictionaries[index].last {
        if case .string(name, _) = $0.key { true } else { false }
      }?.value
    case .tuple(let index):
      guard contents.sequences[index].count == 2 else { return nil }
      for item in contents.sequences[index].reversed() {
        if case .dictionary = item, let value = attribute(name, of: item) { return value }
      }
      return nil
    default: return nil
    }
  }

  private func items(of value: PickleValue?) -> [PickleValue]? {
    switch value {
    case .tuple(let index), .list(let index):
      contents.sequences[index].count <= Self.limit ? contents.sequences[index] : nil
    default: nil
    }
  }

  private func numbers(of value: PickleValue?) -> [Int]? {
    guard let items = items(of: value) else { return nil }
    let numbers = items.compactMap { if case .int(let number) = $0 { number } else { nil } }
    return numbers.count == items.count ? numbers : nil
  }

  /// Extents of a mesh: of the tensor of its ranks, or of the layout that newer versions keep in its place.
  private func extents(of mesh: PickleValue) -> [Int]? {
    for name in ["mesh", "_mesh"] {
      if case .tensor(let ranks) = attribute(name, of: mesh) { return contents.tensors[ranks].shape }
    }
    guard case .object(let layout) = attribute("_layout", of: mesh),
      let axes = items(of: attribute("axes", of: contents.objects[layout].state))
    else { return nil }
    var extents: [Int] = []
    for axis in axes {
      guard case .object(let flat) = axis,
        let sizes = numbers(of: attribute("shape", of: contents.objects[flat].state))
      else { return nil }
      // One rank alone has no sizes at all.
      var product = 1
      for size in sizes {
        let (next, overflow) = product.multipliedReportingOverflow(by: size)
        guard !overflow, size > 0 else { return nil }
        product = next
      }
      extents.append(product)
    }
    return extents
  }

  /// Names that a dims text may use for a parallel axis; a mesh's own names are free.
  private static let axisNames = ["tp", "cp", "ep", "sp", "etp", "edp"]

  /// - Parameter rank: dimensions of the tensor.
  private func metadata(_ spec: PickleValue, rank: Int) -> CaptureMetadata? {
    guard let placements = items(of: attribute("placements", of: spec)), !placements.isEmpty, placements.count <= 6,
      case .object(let place) = attribute("mesh", of: spec)
    else { return nil }
    let mesh = contents.objects[place].state
    var names: [String?] = Array(repeating: nil, count: placements.count)
    if let own = items(of: attribute("_mesh_dim_names", of: mesh)), own.count == names.count {
      names = own.map { if case .string(let name, _) = $0, name.utf8.count <= Self.limit { name } else { nil } }
    }
    var free = Self.axisNames.filter { !names.contains($0) }
    let axes = names.map { name in
      if let name, Self.axisNames.contains(name) { return name }
      return free.isEmpty ? "" : free.removeFirst()
    }
    guard Set(axes).count == axes.count, !axes.contains("") else { return nil }
    var result = CaptureMetadata()
    if let extents = extents(of: mesh), extents.count == axes.count,
      let ranks = numbers(of: attribute("_coordinate_on_dim", of: mesh)), ranks.count == axes.count,
      zip(ranks, extents).allSatisfy({ $0 >= 0 && $0 < $1 })
    {
      for (axis, name) in axes.enumerated() {
        result.parallel[name] = ParallelRank(rank: ranks[axis], size: extents[axis])
      }
    }
    let words = placements.map { word($0) }
    result.values["placements"] = words.joined(separator: ", ")
    let meshNames = names.map { $0 ?? "unnamed" }
    if meshNames != axes { result.values["mesh"] = meshNames.joined(separator: ", ") }
    result.dims = dims(placements, axes: axes, rank: rank)
    return result
  }

  private func word(_ placement: PickleValue) -> String {
    guard case .object(let index) = placement else { return "unknown" }
    let object = contents.objects[index]
    let name = contents.globals[object.global].name
    if case .int(let dimension) = attribute("dim", of: object.state) { return "\(name)(\(dimension))" }
    if case .string(let operation, _) = attribute("reduce_op", of: object.state), operation.utf8.count <= Self.limit {
      return "\(name)(\(operation))"
    }
    return name
  }

  /// The placements as a dims text; nil where there is none for them (strided shards, a reduce that is no sum).
  private func dims(_ placements: [PickleValue], axes: [String], rank: Int) -> String? {
    guard rank > 0 else { return nil }
    var modifiers: [[String]] = Array(repeating: [], count: rank)
    var replicated: [String] = []
    for (placement, axis) in zip(placements, axes) {
      guard case .object(let index) = placement else { return nil }
      let object = contents.objects[index]
      switch contents.globals[object.global].name {
      case "Replicate": replicated.append("\(axis):replicated")
      case "Shard":
        guard case .int(let dimension) = attribute("dim", of: object.state), (0..<rank).contains(dimension) else {
          return nil
        }
        modifiers[dimension].append(axis)
      case "Partial", "_Partial":
        guard case .string("sum", _) = attribute("reduce_op", of: object.state) else { return nil }
        modifiers[rank - 1].append("\(axis):partial")
      default: return nil
      }
    }
    let dimensions = modifiers.enumerated().map { number, own in
      "d\(number)" + (own.isEmpty ? "" : "[\(own.joined(separator: ","))]")
    }
    return (dimensions + (replicated.isEmpty ? [] : ["#"] + replicated)).joined(separator: " ")
  }
}
