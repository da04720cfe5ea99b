/// Turns the value of a pickle into named tensors, scalars and skipped values.
struct TorchFlattening {
  private(set) var dump = DumpFile()

  private let contents: PickleContents
  private let path: String
  /// Where the pickle stands in the file.
  private let base: Int
  /// Where the bytes of a storage stand, for the value of this name.
  private let locate: (TorchStorage, String) throws(DumpError) -> StorageRegion
  /// What the pickle left of it. References let a small pickle mean many values.
  private var budget: PickleBudget
  private var names: Set<String> = []

  /// Containers in containers.
  private static let depthLimit = 100
  /// An entry of a set or a dictionary of names.
  private static let entryCost = 96

  init(
    contents: PickleContents, path: String, base: Int,
    locate: @escaping (TorchStorage, String) throws(DumpError) -> StorageRegion
  ) {
    self.contents = contents
    budget = contents.budget
    self.path = path
    self.base = base
    self.locate = locate
  }

  mutating func run() throws(DumpError) { try add(contents.root, name: "", depth: 0) }

  private mutating func add(_ value: PickleValue, name: String, depth: Int) throws(DumpError) {
    budget.take(PickleBudget.allocation + 2 * name.utf8.count)
    try check(name)
    switch value {
    case .none: try add(Scalar.none, name)
    case .bool(let flag): try add(.bool(flag), name)
    case .int(let number): try add(.int(number), name)
    case .double(let number): try add(.double(number), name)
    case .string(let text, _): try add(Scalar.string(text), name)
    case .bytes(let index): skip(name, "opaque bytes (\(contents.byteStrings[index].count) of them)")
    case .global(let index):
      let global = contents.globals[index]
      if global.module == "torch", DType(torchName: global.name) != nil {
        try add(Scalar.string(global.text), name)
      } else {
        skip(name, "opaque \(global.text)")
      }
    case .opaque(let index): skip(name, "opaque \(contents.globals[index].text)")
    case .object(let index):
      let object = contents.objects[index]
      switch object.array {
      case .array(let dtype, let shape, let strides, let string):
        try add(
          Tensor(
            name: name, dtype: dtype, shape: shape, strides: strides, storageOffset: 0,
            storage: region(of: contents.byteStrings[string])), name)
      case .unusable(let why): skip(name, "opaque \(contents.globals[object.global].text): \(why)")
      case nil: skip(name, "opaque \(contents.globals[object.global].text)")
      }
    case .storage(let index): skip(name, "opaque \(contents.globals[contents.storages[index].global].text)")
    case .tensor(let index): try add(contents.tensors[index], name)
    case .tuple(let index), .list(let index), .set(let index):
      guard depth < Self.depthLimit else { return skip(name, "nested more than \(Self.depthLimit) deep") }
      for (i, item) in contents.sequences[index].enumerated() {
        try add(item, name: "\(name)[\(i)]", depth: depth + 1)
      }
    case .dictionary(let index):
      guard depth < Self.depthLimit else { return skip(name, "nested more than \(Self.depthLimit) deep") }
      for (key, item) in try lastEntries(contents.dictionaries[index], of: name) {
        try add(item, name: name.isEmpty ? key : "\(name).\(key)", depth: depth + 1)
      }
    }
  }

  /// Keys as text, in the order in which they first came; a key set again holds its last value, as in Python.
  ///
  /// Keys that are spelt with other bytes are not one, though Unicode calls them equal. What a repaired text was is not
  /// known: it is one of its own, whose name is taken.
  private mutating func lastEntries(
    _ entries: [(key: PickleValue, value: PickleValue)], of name: String
  ) throws(DumpError) -> [(key: String, value: PickleValue)] {
    var result: [(key: String, value: PickleValue)] = []
    var places: [String: Int] = [:]
    for (key, value) in entries {
      let text = keyText(key)
      budget.take(2 * Self.entryCost)
      if case .string = key {} else { budget.take(text: text.utf8.count) }
      try check(name)
      if case .string = key, let place = places[text], result[place].key.utf8.elementsEqual(text.utf8),
        !text.unicodeScalars.contains("\u{FFFD}")
      {
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
    case .string(let text, _): text
    case .global(let index), .opaque(let index): contents.globals[index].text
    case .bytes, .tuple, .list, .set, .dictionary, .storage, .tensor, .object: "(key)"
    }
  }

  private func check(_ name: String) throws(DumpError) {
    guard budget.isSpent else { return }
    throw DumpError(code: .limit, file: path, at: .key(name.clipped), message: PickleBudget.refusal)
  }

  private mutating func skip(_ name: String, _ why: String) {
    budget.take(PickleBudget.allocation + why.utf8.count)
    budget.take(roomFor: &dump.skipped)
    dump.skipped.append(SkippedValue(name: name.isEmpty ? "value" : name, why: why, isDamaged: false))
  }

  /// A value that is not in a container gets the name `value`. A name that is taken costs the later value.
  private mutating func claim(_ name: String) -> String? {
    let name = name.isEmpty ? "value" : name
    budget.take(Self.entryCost)
    if names.insert(name).inserted { return name }
    skip(name, "a second value of this name")
    return nil
  }

  private mutating func add(_ scalar: Scalar, _ name: String) throws(DumpError) {
    guard let name = claim(name) else { return }
    budget.take(roomFor: &dump.scalars)
    dump.scalars.append(NamedScalar(name: name, value: scalar))
  }

  private mutating func add(_ tensor: TorchTensor, _ name: String) throws(DumpError) {
    guard let name = claim(name) else { return }
    let storage = contents.storages[tensor.storage]
    let region = try locate(storage, name.clipped)
    if let metadata = tensor.metadata {
      budget.take(2 * Self.entryCost)
      dump.metadata[name] = metadata
    }
    let tensor = Tensor(
      name: name, dtype: tensor.dtype, shape: tensor.shape, strides: tensor.strides,
      storageOffset: tensor.storageOffset, storage: region,
      isConjugated: tensor.isConjugated, isNegated: tensor.isNegated)
    _ = try tensor.checkedView()
    budget.take(roomFor: &dump.tensors)
    dump.tensors.append(tensor)
  }

  /// A NumPy array, whose bytes stand in the pickle.
  private mutating func add(_ array: Tensor, _ name: String) throws(DumpError) {
    guard let name = claim(name) else { return }
    var array = array
    array.name = name
    _ = try array.checkedView()
    budget.take(roomFor: &dump.tensors)
    dump.tensors.append(array)
  }

  private func region(of string: PickleBytes) -> StorageRegion {
    StorageRegion(
      path: path, offset: base + string.range.lowerBound, byteCount: string.count,
      packing: string.isText ? Packing(method: .latin1, byteCount: string.range.count) : nil)
  }
}
