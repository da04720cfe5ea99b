extension Unpickler {
  /// What `callee(*arguments)` would be, where this reader knows it; else an opaque value of its name.
  mutating func rebuild(_ callee: PickleValue, _ arguments: PickleValue) throws(DumpError) -> PickleValue {
    let global: PickleGlobal
    switch callee {
    case .global(let index): global = contents.globals[index]
    case .opaque, .object: return callee
    default: throw malformed("something that is no class or function is called")
    }
    guard case .tuple(let index) = arguments else { throw malformed("the arguments of \(global.text) are no tuple") }
    let items = contents.sequences[index]

    switch global.text {
    case "torch._utils._rebuild_tensor_v2": return try rebuildTensor(items, dtypeAt: nil, global)
    case "torch._utils._rebuild_tensor_v3": return try rebuildTensor(items, dtypeAt: 6, global)
    case "torch._utils._rebuild_parameter", "torch._utils._rebuild_parameter_with_state":
      guard let data = items.first else { throw malformed("\(global.text) without data") }
      return data
    case "torch._tensor._rebuild_from_type_v2":
      // A subclass, or a tensor with attributes: (function, class, arguments, state). The data is the tensor's.
      guard items.count == 4, case .global(let function) = items[0] else {
        throw malformed("\(global.text) is incomplete")
      }
      guard contents.globals[function].text != global.text else { throw malformed("\(global.text) of itself") }
      if contents.globals[function].text == "torch._utils._rebuild_wrapper_subclass", case .global(let type) = items[1]
      {
        let type = contents.globals[type]
        return distributedTensor(class: type, state: items[3]) ?? opaque(type)
      }
      return try rebuild(items[0], items[2])
    case "collections.OrderedDict": return try rebuildDictionary(items.first)
    case "collections.defaultdict": return try rebuildDictionary(items.dropFirst().first)
    case "torch.Size":
      guard let first = items.first, isSequence(first) else { throw malformed("torch.Size of no sequence") }
      return first
    case "torch.device":
      guard case .string(let type, _) = items.first else { return opaque(global) }
      guard items.count > 1, case .int(let number) = items[1] else { return .string(type, at: nil) }
      guard type.utf8.count <= 64 else { return opaque(global) }
      contents.budget.take(text: 96)
      return .string("\(type):\(number)", at: nil)
    case "__builtin__.set", "builtins.set", "__builtin__.frozenset", "builtins.frozenset":
      guard let first = items.first, case .list(let items) = first else { return .set(newSequence([])) }
      return .set(items)
    case "__builtin__.list", "builtins.list": return items.isEmpty ? .list(newSequence([])) : opaque(global)
    case "__builtin__.dict", "builtins.dict": return items.isEmpty ? .dictionary(newDictionary()) : opaque(global)
    case "__builtin__.bytes", "builtins.bytes":
      // How protocol 2 writes an empty byte string.
      guard items.isEmpty else { return opaque(global) }
      return .bytes(newByteString(PickleBytes(range: 0..<0, count: 0, isText: false)))
    case "_codecs.encode":
      return encodedBytes(items) ?? opaque(global)
    default:
      if Self.isNumPy(global) { return try numPyValue(global, items) }
      guard Self.isOfDistributedTensors(global) else { return opaque(global) }
      contents.objects.append(PickleObject(global: number(of: global)))
      return .object(contents.objects.count - 1)
    }
  }

  /// `('storage', class, key, location, elements)`, and in legacy files a sixth item: nothing, or the part that is
  /// meant as `(key, offset, elements)`. A legacy file also has `('module', class, file, source)` for a class.
  mutating func storage(persistentID: PickleValue) throws(DumpError) -> PickleValue {
    guard case .tuple(let index) = persistentID else { throw malformed("a persistent id is no tuple") }
    let items = contents.sequences[index]
    if items.count == 4, case .string("module", _) = items[0], case .global = items[1] { return items[1] }
    guard items.count >= 5, case .string("storage", _) = items[0], case .global(let type) = items[1],
      case .string(let key, _) = items[2], case .int(let count) = items[4], count >= 0
    else { throw malformed("a persistent id does not name a storage") }
    let global = contents.globals[type]
    let dtype = Self.storageTypes[global.text]
    guard let elementBytes = dtype?.byteCount ?? Self.otherStorageBytes[global.text] else { return opaque(global) }
    var storage = TorchStorage(
      dtype: dtype, elementBytes: elementBytes, key: key, elementCount: count, global: type)
    if items.count > 5, case .tuple(let index) = items[5] {
      let view = contents.sequences[index]
      guard view.count == 3, case .int(let start) = view[1], case .int(let length) = view[2], start >= 0, length >= 0,
        !start.addingReportingOverflow(length).overflow
      else { throw malformed("the part of a storage is not understood") }
      storage.view = start..<(start + length)
    }
    contents.storages.append(storage)
    // A quantized one is counted, for it has bytes in a legacy file, and not interpreted.
    return dtype == nil && !Self.isUntyped(global) ? opaque(global) : .storage(contents.storages.count - 1)
  }

  /// `(storage, offset, size, stride, requires_grad, hooks[, dtype][, metadata])`.
  private mutating func rebuildTensor(
    _ items: [PickleValue], dtypeAt dtypeIndex: Int?, _ global: PickleGlobal
  ) throws(DumpError) -> PickleValue {
    guard items.count >= 4 else { throw malformed("\(global.text) is incomplete") }
    if case .opaque = items[0] { return items[0] }
    guard case .storage(let storage) = items[0], case .int(let offset) = items[1], let shape = integers(items[2]),
      let strides = integers(items[3])
    else { throw malformed("\(global.text) has arguments of other types than torch writes") }
    let dtype: DType
    if let dtypeIndex {
      guard items.count > dtypeIndex, case .global(let index) = items[dtypeIndex] else {
        throw malformed("\(global.text) has no dtype")
      }
      let name = contents.globals[index]
      guard name.module == "torch", let known = DType(torchName: name.name) else { return opaque(name) }
      dtype = known
    } else {
      guard let known = contents.storages[storage].dtype else {
        throw malformed("\(global.text) of an untyped storage")
      }
      dtype = known
    }
    var isConjugated = false
    var isNegated = false
    if let metadata = items.dropFirst((dtypeIndex ?? 5) + 1).first, case .dictionary(let index) = metadata {
      for (key, value) in contents.dictionaries[index] {
        guard case .string(let name, _) = key, case .bool(let isSet) = value, name == "conj" || name == "neg" else {
          return opaque(PickleGlobal(module: global.module, name: "\(global.name) with unknown metadata"))
        }
        if name == "conj" { isConjugated = isSet } else { isNegated = isSet }
      }
    }
    for numbers in [shape, strides] { contents.budget.take(array: numbers.count, stride: MemoryLayout<Int>.stride) }
    contents.tensors.append(
      TorchTensor(
        dtype: dtype, storage: storage, storageOffset: offset, shape: shape, strides: strides,
        isConjugated: isConjugated, isNegated: isNegated))
    return .tensor(contents.tensors.count - 1)
  }

  private mutating func rebuildDictionary(_ pairs: PickleValue?) throws(DumpError) -> PickleValue {
    let index = newDictionary()
    guard let pairs, isSequence(pairs) else { return .dictionary(index) }
    try makeRoom(inDictionary: index, for: items(pairs).count)
    for pair in items(pairs) {
      let entry = items(pair)
      guard entry.count == 2 else { throw malformed("an OrderedDict is given something that is no pair") }
      contents.dictionaries[index].append((entry[0], entry[1]))
    }
    return .dictionary(index)
  }

  /// `_codecs.encode(text, 'latin1')`: how protocol 2 writes a byte string; nil for another text or encoding.
  private mutating func encodedBytes(_ items: [PickleValue]) -> PickleValue? {
    guard items.count == 2, case .string(let text, let start?) = items[0], case .string(let encoding, _) = items[1],
      encoding == "latin1" || encoding == "latin-1"
    else { return nil }
    if let known = encodedTexts[start] { return known.map { .bytes($0) } }
    encodedTexts[start] = .some(nil)
    contents.budget.take(Self.entryCost)
    let range = Int(start)..<(Int(start) + text.utf8.count)
    // Of a text that was repaired the length is not known.
    guard range.upperBound <= bytes.count, let count = Packing.characterCount(bytes[range]),
      count == text.unicodeScalars.count
    else { return nil }
    let index = newByteString(PickleBytes(range: range, count: count, isText: true))
    encodedTexts[start] = index
    return .bytes(index)
  }

  private func isSequence(_ value: PickleValue) -> Bool {
    switch value {
    case .tuple, .list: true
    default: false
    }
  }

  private func items(_ value: PickleValue) -> [PickleValue] {
    switch value {
    case .tuple(let index), .list(let index): contents.sequences[index]
    default: []
    }
  }

  func integers(_ value: PickleValue) -> [Int]? {
    let items = items(value)
    guard isSequence(value), items.count <= Self.dimensionLimit else { return nil }
    var numbers: [Int] = []
    numbers.reserveCapacity(items.count)
    for item in items {
      guard case .int(let number) = item else { return nil }
      numbers.append(number)
    }
    return numbers
  }

  /// torch itself takes 64.
  private static let dimensionLimit = 64

  private static func isUntyped(_ global: PickleGlobal) -> Bool {
    global.text == "torch.storage.UntypedStorage" || global.text == "torch.UntypedStorage"
  }

  /// Bytes of one element of storages that have no dtype of ours.
  private static let otherStorageBytes = [
    "torch.storage.UntypedStorage": 1, "torch.UntypedStorage": 1, "torch.QInt8Storage": 1, "torch.QUInt8Storage": 1,
    "torch.QInt32Storage": 4, "torch.QUInt4x2Storage": 1, "torch.QUInt2x4Storage": 1,
  ]

  private static let storageTypes: [String: DType] = [
    "torch.DoubleStorage": .float64, "torch.FloatStorage": .float32, "torch.HalfStorage": .float16,
    "torch.BFloat16Storage": .bfloat16, "torch.LongStorage": .int64, "torch.IntStorage": .int32,
    "torch.ShortStorage": .int16, "torch.CharStorage": .int8, "torch.ByteStorage": .uint8,
    "torch.BoolStorage": .bool, "torch.ComplexFloatStorage": .complex64, "torch.ComplexDoubleStorage": .complex128,
  ]
}

extension DType {
  /// The type that torch calls so, under its first name or an alias (`half`, `cfloat`).
  init?(torchName: String) {
    switch torchName {
    case "double": self = .float64
    case "float": self = .float32
    case "half": self = .float16
    case "long": self = .int64
    case "int": self = .int32
    case "short": self = .int16
    case "chalf": self = .complex32
    case "cfloat": self = .complex64
    case "cdouble": self = .complex128
    default: self.init(rawValue: torchName)
    }
  }
}
