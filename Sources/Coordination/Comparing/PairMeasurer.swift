import Alignment
import Comparison
import Dumps

/// Measures two logical tensors of one shape, block by block.
enum PairMeasurer {
  /// Elements of one block: 256 KiB of doubles.
  static let blockElements = 1 << 15

  /// - Parameters:
  ///   - range: elements of both sides, row-major; nil: all.
  ///   - shape: shape of what is compared.
  static func measure(
    target: LogicalTensor, reference: LogicalTensor, shape: [Int], targetStart: Int = 0, referenceStart: Int = 0
  ) throws -> Measures {
    let sameType = target.dtype == reference.dtype
    let values = target.dtype.valuesPerElement
    guard reference.dtype.valuesPerElement == values else {
      throw AlignmentError(
        code: .shapeMismatch, place: "element types",
        message: "\(reference.dtype.rawValue) and \(target.dtype.rawValue) hold different numbers of values an element")
    }
    var accumulator = MeasureAccumulator(shape: shape, valuesPerElement: values)
    var left = try target.makeReader()
    var right = try reference.makeReader()
    var leftBytes: [UInt8] = []
    var rightBytes: [UInt8] = []
    var leftValues: [Double] = []
    var rightValues: [Double] = []
    let count = shape.reduce(1, *)
    var start = 0
    while start < count {
      let end = min(start + blockElements, count)
      try left.read((targetStart + start)..<(targetStart + end), bytes: &leftBytes, values: &leftValues)
      try right.read((referenceStart + start)..<(referenceStart + end), bytes: &rightBytes, values: &rightValues)
      accumulator.add(target: leftValues, reference: rightValues)
      if sameType, !leftBytes.isEmpty, leftBytes.count == rightBytes.count {
        accumulator.addBytes(
          unequal: leftBytes == rightBytes ? 0 : unequal(leftBytes, rightBytes), of: leftBytes.count)
      }
      start = end
    }
    var measures = accumulator.measures
    if !sameType { measures.byteEqual = 0 }
    return measures
  }

  private static func unequal(_ left: [UInt8], _ right: [UInt8]) -> Int {
    left.withUnsafeBufferPointer { left in
      right.withUnsafeBufferPointer { right in
        var count = 0
        for index in 0..<min(left.count, right.count) where left[index] != right[index] { count += 1 }
        return count
      }
    }
  }

  /// Positions of `tensors` whose bytes are not those of the first, over the whole tensor.
  static func divergent(_ tensors: [Tensor]) throws -> [Int] {
    guard let first = tensors.first else { return [] }
    let head = try TensorReader(first)
    let others = try tensors.dropFirst().map { try TensorReader($0) }
    var result: Set<Int> = []
    var left: [UInt8] = []
    var right: [UInt8] = []
    var start = 0
    while start < first.elementCount, result.count < others.count {
      let end = min(start + blockElements * 4, first.elementCount)
      try head.read(start..<end, into: &left)
      for (index, other) in others.enumerated() where !result.contains(index + 1) {
        try other.read(start..<end, into: &right)
        if left != right { result.insert(index + 1) }
      }
      start = end
    }
    return result.sorted()
  }
}
