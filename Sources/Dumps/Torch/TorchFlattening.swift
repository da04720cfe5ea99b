/// Turns the value of a pickle into named tensors, scalars and skipped values.
struct TorchFlattening {
  private(set) var dump = DumpFile()

  private let contents: PickleContents
  private let path: String
  /// Where the bytes of a storage stand, for the value of this name.
  private let locate: (TorchStorage, String) throws(DumpError) -> StorageRegion
  private var visited = 0
  private var nameBytes = 0
  private var names: Set<String> = []

  /// Containers in containers.
  private static let depthLimit = 100
  /// Values that are given a name. References let a small pickle mean many.
  private static let valueLimit = 1 << 20
  private static let nameLimit = 256 << 20

  init(
    contents: PickleContents, path: String,
    locate: @escaping (TorchStorage, String) throws(DumpError) -> StorageRegion
  ) {
    self.contents = contents
    self.path = path
    self.locate = locate
  }

  mutating func run() throws(DumpError) { try add(contents.root, name: "", depth: 0) }

  private mutating func add(_ value: PickleValue, name: String, depth: Int) throws(DumpError) {
    visited += 1
    nameBytes += name.utf8.count
    guard visited <= Self.valueLimit, nameBytes <= Self.nameLimit else {
      throw DumpError(code: .limit, file: path, at: .key(name.clipped), message: "the file holds too many values")
    }
    switch value {
    case .none: try add(Scalar.none, name)
    case .bool(let flag): try add(.bool(flag), name)
    case .int(let number): try add(.int(number), name)
    case .double(let number): try add(.double(number), name)
    case .string(let text): try add(.string(text), name)
    case .bytes(let count): skip(name, "opaque bytes (\(count) of them)")
    case .global(let index):
      let global = contents.globals[index]
      if global.module == "torch", DType(torchName: global.name) != nil {
        try add(.string(global.text), name)
      } else {
        skip(name, "opaque \(global.text)")
      }
    case .opaque(let index): skip(name, "opaque \(contents.globals[index].text)")
    case .object(let index): skip(name, "opaque \(contents.globals[contents.objects[index].global].text)")
    case .storage(let index): skip(name, "opaque \(contents.globals[contents.storages[index].global].text)")
    case .tensor(let index): try add(contents.tensors[index], name)
    case .tuple(let index), .list(let index), .set(let index):
      guard depth < Self.depthLimit else { return skip(name, "nested more than \(Self.depthLimit) deep") }
      for (i, item) in contents.sequences[index].enumerated() {
        try add(item, name: "\(name)[\(i)]", depth: depth + 1)
      }
    case .dictionary(let index):
      guard depth < Self.depthLimit else { return skip(name, "nested more than \(Self.depthLimit) deep") }
      visited += contents.dictionaries[index].count
      for (key, item) in lastEntries(contents.dictionaries[index]) {
        try add(item, name: name.isEmpty ? key : "\(name).\(key)", depth: depth + 1)
      }
    }
  }

  /// Keys as text, in the order in which they first came; a key set again holds its last value, as in Python.
  private func lastEntries(
    _ entries: [(key: PickleValue, value: PickleValue)]
  ) -> [(key: String, value: PickleValue)] {
    var result: [(key: String, value: PickleValue)] = []
    var places: [String: Int] = [:]
    for (key, value) in entries {
      let text = keyText(key)
      if case .string = key, let place = places[text] {
        result[place].value = value
      } else {
        if case .string = key { places[text] = result.count }
        result.append((text, value))
      }
    }
    return result
  }

  private func keyText(_ key: PickleValue) -> String {
    switch key {
    case .none: "None"
    case .bool(let flag): flag ? "True" : "False"
    case .int(let number): String(number)
    case .double(let number): String(number)
    case .string(let text): text
    case .global(let index), .opaque(let index): contents.globals[index].text
    case .bytes, .tuple, .list, .set, .dictionary, .storage, .tensor, .object: "(key)"
    }
  }

  private mutating func skip(_ name: String, _ why: String) {
    dump.skipped.append(SkippedValue(name: name.isEmpty ? "value" : name, why: why, isDamaged: false))
  }

  /// A value that is not in a container gets the name `value`. A name that is taken costs the later value.
  private mutating func claim(_ name: String) -> String? {
    let name = name.isEmpty ? "value" : name
    if names.insert(name).inserted { return name }
    skip(name, "a second value of this name")
    return nil
  }

  private mutating func add(_ scalar: Scalar, _ name: String) throws(DumpError) {
    guard let name = claim(name) else { return }
    dump.scalars.append(NamedScalar(name: name, value: scalar))
  }

  private mutating func add(_ tensor: TorchTensor, _ name: String) throws(DumpError) {
    guard let name = claim(name) else { return }
    let storage = contents.storages[tensor.storage]
    let region = try locate(storage, name.clipped)
    if let metadata = tensor.metadata { dump.metadata[name] = metadata }
    let tensor = Tensor(
      name: name, dtype: tensor.dtype, shape: tensor.shape, strides: tensor.strides,
      storageOffset: tensor.storageOffset, storage: region,
      isConjugated: tensor.isConjugated, isNegated: tensor.isNegated)
    _ = try tensor.checkedView()
    dump.tensors.append(tensor)
  }
}
