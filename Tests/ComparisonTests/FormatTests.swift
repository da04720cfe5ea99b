import Comparison
import Dumps
import Testing

/// The kernels that read elements in place, against the same elements decoded first.
@Suite("Measures of bytes in place")
struct FormatTests {
  static let types = DType.allCases

  /// Random bytes: every pattern there is, NaN, infinity and numbers below normal included.
  private func noise(_ count: Int, _ seed: UInt64) -> [UInt8] {
    var state = seed
    return (0..<count).map { _ in
      state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
      return UInt8(truncatingIfNeeded: state >> 56)
    }
  }

  /// Bytes whose values are finite and of usual size.
  private func tame(_ dtype: DType, _ count: Int, _ seed: UInt64) -> [UInt8] {
    var bytes = noise(count * dtype.byteCount, seed)
    guard dtype.isFloatingPoint else { return bytes }
    let scalar = dtype.byteCount / (dtype.isComplex ? 2 : 1)
    for index in stride(from: scalar - 1, to: bytes.count, by: scalar) { bytes[index] = bytes[index] & 0x81 | 0x38 }
    return bytes
  }

  private func decoded(_ dtype: DType, _ bytes: [UInt8]) -> [Double] {
    var values = Array(repeating: 0.0, count: bytes.count / dtype.byteCount * dtype.valuesPerElement)
    bytes.withUnsafeBytes { bytes in values.withUnsafeMutableBufferPointer { dtype.decode(bytes, into: $0) } }
    return values
  }

  private func inPlace(_ dtype: DType, _ a: [UInt8], _ b: [UInt8], shape: [Int], block: Int) -> Measures {
    var accumulator = MeasureAccumulator(shape: shape, valuesPerElement: dtype.valuesPerElement)
    let step = block * dtype.byteCount
    for start in stride(from: 0, to: a.count, by: step) {
      let range = start..<min(start + step, a.count)
      accumulator.add(dtype, target: Array(a[range]), reference: Array(b[range]))
    }
    return accumulator.measures
  }

  private func byValue(_ dtype: DType, _ a: [UInt8], _ b: [UInt8], shape: [Int]) -> Measures {
    var accumulator = MeasureAccumulator(shape: shape, valuesPerElement: dtype.valuesPerElement)
    accumulator.add(target: decoded(dtype, a), reference: decoded(dtype, b))
    accumulator.addBytes(unequal: zip(a, b).count { $0 != $1 }, of: a.count)
    return accumulator.measures
  }

  /// Every figure, with NaN equal to itself.
  private func bits(_ measures: Measures) -> [UInt64] {
    let figures =
      [
        measures.cos, measures.maxAbs, measures.rel, measures.relL2, measures.alpha, measures.residual,
        measures.normRatio, measures.sglangRel, measures.byteEqual, measures.worstToken?.cos ?? -1,
        measures.worstToken?.relL2 ?? -1, measures.meanAbs,
      ] + measures.tokenRelL2 + measures.tokenNorms
    let counts =
      [
        measures.nonfiniteReference, measures.nonfiniteTarget, measures.elementCount, measures.worstToken?.index ?? -1,
      ] + measures.worstCoordinate
    return figures.map { $0.isNaN ? 0 : $0.bitPattern } + counts.map { UInt64(bitPattern: Int64($0)) }
  }

  @Test("have the bits of decoded values, in blocks of any size", arguments: types, [7, 64, 10_000])
  func formats(dtype: DType, block: Int) {
    let shape = [13, 37]
    for make in [tame, { noise($1 * $0.byteCount, $2) }] {
      let a = make(dtype, 13 * 37, 1)
      let b = make(dtype, 13 * 37, 2)
      let expected = bits(byValue(dtype, a, b, shape: shape))
      #expect(bits(inPlace(dtype, a, b, shape: shape, block: block)) == expected)
      // Equal blocks take another way: the first five rows are the same bytes.
      let half = Array(a[..<(5 * 37 * dtype.byteCount)]) + b[(5 * 37 * dtype.byteCount)...]
      #expect(bits(inPlace(dtype, a, half, shape: shape, block: block)) == bits(byValue(dtype, a, half, shape: shape)))
      #expect(bits(inPlace(dtype, a, a, shape: shape, block: block)) == bits(byValue(dtype, a, a, shape: shape)))
    }
  }

  @Test("count what is not finite in equal bytes, too")
  func equalNonfinite() {
    let one: [UInt8] = [0x80, 0x3F]
    let bytes = Array(repeatElement(one, count: 40).joined()) + [0xC0, 0x7F, 0x80, 0xFF] + one
    let result = inPlace(.bfloat16, bytes, bytes, shape: [43], block: 43)
    #expect(result.nonfiniteReference == 2 && result.nonfiniteTarget == 2)
    #expect(result.cos.isNaN && !result.isEqual)
  }

  @Test("are the same measured whole or chunk by chunk", arguments: [[3, 1_100_000], [5000, 600], [2_500_000]])
  func chunks(shape: [Int]) {
    let count = shape.reduce(1, *)
    let b = tame(.bfloat16, count, 3)
    var a = b
    for index in stride(from: 0, to: a.count, by: 34) { a[index] ^= 1 }
    a[a.count - 5] ^= 0x40
    let chunks = MeasureAccumulator.chunks(shape: shape, valuesPerElement: 1)
    #expect(chunks.count > 1 && chunks.first?.lowerBound == 0 && chunks.last?.upperBound == count)
    var whole = MeasureAccumulator(shape: shape, valuesPerElement: 1)
    for chunk in chunks {
      var part = MeasureAccumulator(shape: shape, valuesPerElement: 1, startingAt: chunk.lowerBound)
      let range = (chunk.lowerBound * 2)..<(chunk.upperBound * 2)
      part.add(.bfloat16, target: Array(a[range]), reference: Array(b[range]))
      whole.merge(part)
    }
    let measures = inPlace(.bfloat16, a, b, shape: shape, block: 100_003)
    #expect(bits(whole.measures) == bits(measures))
    #expect(measures.worstCoordinate.last == ((count - 3) % (shape.last ?? 1)))
  }
}
