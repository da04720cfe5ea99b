/// NumPy's arrays and scalars in a pickle: rebuilt as data from what their constructors would be given.
///
/// Arrays come as `_reconstruct(ndarray, …)` with a state of version, shape, dtype, order and bytes, or as
/// `_frombuffer(bytes, dtype, shape, order)` in protocol 5. Arrays of Python objects hold a list and are named.
extension Unpickler {
  static func isNumPy(_ global: PickleGlobal) -> Bool {
    reconstructors.contains(global.text) || frombuffer.contains(global.text) || scalars.contains(global.text)
      || global.text == "numpy.dtype"
  }

  private static let reconstructors: Set<String> = [
    "numpy.core.multiarray._reconstruct", "numpy._core.multiarray._reconstruct",
  ]
  private static let frombuffer: Set<String> = [
    "numpy.core.numeric._frombuffer", "numpy._core.numeric._frombuffer",
  ]
  private static let scalars: Set<String> = ["numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar"]

  /// What one of NumPy's constructors gives.
  mutating func numPyValue(_ global: PickleGlobal, _ items: [PickleValue]) throws(DumpError) -> PickleValue {
    if Self.scalars.contains(global.text) {
      guard items.count == 2, case .bytes(let index) = items[1], let type = dtype(items[0]),
        let value = scalar(type, contents.byteStrings[index])
      else { return opaque(global) }
      return value
    }
    var object = PickleObject(global: number(of: global))
    if Self.frombuffer.contains(global.text) {
      guard items.count == 4, case .string(let order, _) = items[3] else { return opaque(global) }
      object.array = array(shape: items[2], type: items[1], isFortran: order == "F", bytes: items[0])
    } else if global.text == "numpy.dtype" {
      guard case .string(let code, _) = items.first else { return opaque(global) }
      object.dtypeCode = code
    }
    takeMemory(of: object.array)
    contents.objects.append(object)
    return .object(contents.objects.count - 1)
  }

  /// The array that `_reconstruct` made, with its state.
  mutating func setNumPyState(_ state: PickleValue, ofObject index: Int) {
    guard Self.reconstructors.contains(contents.globals[contents.objects[index].global].text) else { return }
    guard case .tuple(let tuple) = state, contents.sequences[tuple].count == 5 else {
      contents.objects[index].array = .unusable("a NumPy array whose state is not understood")
      return
    }
    let items = contents.sequences[tuple]
    let isFortran = if case .bool(true) = items[3] { true } else { false }
    contents.objects[index].array = array(shape: items[1], type: items[2], isFortran: isFortran, bytes: items[4])
    takeMemory(of: contents.objects[index].array)
  }

  private mutating func takeMemory(of array: PickleArray?) {
    switch array {
    case .array(_, let shape, let strides, _):
      for numbers in [shape, strides] { contents.budget.take(array: numbers.count, stride: MemoryLayout<Int>.stride) }
    case .unusable(let why): contents.budget.take(text: why.utf8.count)
    case nil: break
    }
  }

  private func array(shape: PickleValue, type: PickleValue, isFortran: Bool, bytes: PickleValue) -> PickleArray {
    guard let descr = descr(type) else { return .unusable("a NumPy array of a dtype that no tensor has") }
    if case .list = bytes { return .unusable("a NumPy array of Python objects") }
    guard let dtype = NPYFile.dtype(descr) else { return .unusable("a NumPy array of dtype \(descr.clipped)") }
    guard case .bytes(let index) = bytes, let shape = integers(shape) else {
      return .unusable("a NumPy array without bytes of its own")
    }
    guard let strides = StridedView.contiguousStrides(of: isFortran ? shape.reversed() : shape),
      let view = StridedView(shape: shape, strides: isFortran ? strides.reversed() : strides)
    else { return .unusable("a NumPy array of the impossible shape \(shape)") }
    let (byteCount, overflow) = view.elementCount.multipliedReportingOverflow(by: dtype.byteCount)
    guard !overflow, byteCount == contents.byteStrings[index].count else {
      return .unusable(
        "a NumPy array of shape \(shape) and dtype \(dtype.rawValue) with \(contents.byteStrings[index].count) bytes")
    }
    return .array(
      dtype: dtype, shape: shape, strides: isFortran ? strides.reversed() : strides, byteString: index)
  }

  private func dtype(_ value: PickleValue) -> DType? { descr(value).flatMap(NPYFile.dtype) }

  /// `<f4` as an `.npy` header would have it; nil for structured types, subarrays, and what is no dtype.
  private func descr(_ value: PickleValue) -> String? {
    guard case .object(let index) = value, let code = contents.objects[index].dtypeCode else { return nil }
    // (version, order, subarray, names, fields, size, alignment, flags)
    guard case .tuple(let tuple) = contents.objects[index].state else { return "|\(code)" }
    let items = contents.sequences[tuple]
    guard items.count >= 5, case .string(let order, _) = items[1], order.utf8.count == 1, case .none = items[2],
      case .none = items[3], case .none = items[4]
    else { return nil }
    return (order == "=" ? "<" : order) + code
  }

  private func scalar(_ dtype: DType, _ string: PickleBytes) -> PickleValue? {
    guard string.count == dtype.byteCount, let data = short(string) else { return nil }
    switch dtype {
    case .bool: return .bool(data[0] != 0)
    case .int64: return .int(Int(data.littleEndian(0, Int64.self)))
    case .uint64: return Int(exactly: data.littleEndian(0, UInt64.self)).map { .int($0) }
    default:
      guard dtype.valuesPerElement == 1 else { return nil }
      var value = [0.0]
      data.withUnsafeBytes { data in value.withUnsafeMutableBufferPointer { dtype.decode(data, into: $0) } }
      return dtype.isFloatingPoint ? .double(value[0]) : .int(Int(value[0]))
    }
  }

  /// The bytes of a string of no more than 16.
  private func short(_ string: PickleBytes) -> [UInt8]? {
    guard string.count <= 16 else { return nil }
    let own = bytes[string.range]
    guard string.isText else { return Array(own) }
    return String(decoding: own, as: UTF8.self).unicodeScalars.compactMap { UInt8(exactly: $0.value) }
  }
}
