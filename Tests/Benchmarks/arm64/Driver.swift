import TensorKernels
import TensorLanes

// The baseline loops for a caller in C: with nothing of the Swift runtime called, they run where only they were built.

/// Formats in the order of `LaneFormat.allCases`; nil past the last.
private func format(_ number: Int32) -> LaneFormat? {
  switch number {
  case 0: .float64
  case 1: .float32
  case 2: .float16
  case 3: .bfloat16
  case 4: .int64
  case 5: .int32
  case 6: .int16
  case 7: .uint64
  case 8: .uint32
  case 9: .uint16
  case 10: .int8
  case 11: .uint8
  case 12: .byteCodes
  case 13: .nibbleCodes
  default: nil
  }
}

/// Bits of one value of a format; 0 past the last.
@_cdecl("value_bits")
public func valueBits(_ number: Int32) -> Int32 { Int32(format(number)?.bitCount ?? 0) }

/// Adds a run of pairs, in two pieces, to empty lanes.
///
/// - Parameters:
///   - cut: values of the first piece.
///   - results: room for 14 numbers: five sums, two largest, the place of one, two counts of what is not finite,
///     unequal bytes and elements of each piece, and whether the largest was raised.
@_cdecl("add_pairs")
public func addPairs(
  _ number: Int32, _ target: UnsafeRawPointer, _ reference: UnsafeRawPointer, _ count: Int, _ lane: Int, _ cut: Int,
  _ table: UnsafePointer<Float>, _ results: UnsafeMutablePointer<Double>
) {
  guard let format = format(number) else { return }
  let bits = format.bitCount
  var lanes = PairLanes()
  for i in 0..<14 { results[i] = 0 }
  var first = 0
  while first < count {
    let end = first < cut ? cut : count
    let offset = first * bits / 8
    Kernels.addPairs(
      format,
      PairRun(
        target: target + offset, reference: reference + offset, count: end - first, lane: (lane + first) & 31,
        elementBytes: bits < 8 ? 1 : bits / 8, table: table),
      to: &lanes, on: .baseline)
    if let index = lanes.largestDifferenceIndex {
      results[7] = Double(first + index)
      results[13] += 1
    }
    results[8] += Double(lanes.nonfiniteTarget)
    results[9] += Double(lanes.nonfiniteReference)
    results[10] += Double(lanes.unequalBytes)
    results[11] += Double(lanes.unequalElements)
    if lanes.largestReference > results[6] { results[6] = lanes.largestReference }
    first = end
  }
  let sums = lanes.sums
  results[0] = sums.dot
  results[1] = sums.target
  results[2] = sums.reference
  results[3] = sums.difference
  results[4] = sums.magnitude
  results[5] = lanes.largestDifference
}
