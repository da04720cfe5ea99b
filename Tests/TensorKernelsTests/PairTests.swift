import TensorKernels
import TensorLanes
import Testing

/// Every kernel, on every instruction set that this machine runs, against its definition: bit for bit.
@Suite("Pairs")
struct PairTests {
  static let sets = InstructionSet.available

  /// Runs of `cuts` values (the rest last) at an odd address.
  private func lanes(
    _ samples: Samples, _ set: InstructionSet, lane: Int = 0, cuts: [Int] = [], elementBytes: Int? = nil
  ) -> PairLanes {
    let bits = samples.format.bitCount
    let count = samples.target.count * 8 / bits
    var lanes = PairLanes()
    var whole = (largest: 0.0, index: Int?.none, reference: 0.0, counts: [0, 0, 0, 0])
    samples.table.withUnsafeBufferPointer { table in
      ([0] + samples.target).withUnsafeBytes { target in
        ([0, 0, 0] + samples.reference).withUnsafeBytes { reference in
          guard let a = target.baseAddress, let b = reference.baseAddress else { return }
          var done = 0
          for cut in cuts + [count] where done < count {
            let length = min(cut, count - done)
            Kernels.addPairs(
              samples.format,
              PairRun(
                target: a + 1 + done * bits / 8, reference: b + 3 + done * bits / 8, count: length,
                lane: (lane + done) % 32, elementBytes: elementBytes ?? max(1, bits / 8), table: table.baseAddress),
              to: &lanes, on: set)
            if let index = lanes.largestDifferenceIndex { whole.index = done + index }
            whole.reference = max(whole.reference, lanes.largestReference)
            let counts = [
              lanes.unequalBytes, lanes.unequalElements, lanes.nonfiniteTarget, lanes.nonfiniteReference,
            ]
            whole.counts = zip(whole.counts, counts).map(+)
            done += length
          }
        }
      }
    }
    lanes.largestDifferenceIndex = whole.index
    lanes.largestReference = whole.reference
    (lanes.unequalBytes, lanes.unequalElements) = (whole.counts[0], whole.counts[1])
    (lanes.nonfiniteTarget, lanes.nonfiniteReference) = (whole.counts[2], whole.counts[3])
    return lanes
  }

  private func check(
    _ lanes: PairLanes, _ samples: Samples, lane: Int = 0, elementBytes: Int? = nil, _ note: String,
    sourceLocation: SourceLocation = #_sourceLocation
  ) {
    let model = PairModel(target: samples.targetValues, reference: samples.referenceValues, lane: lane)
    #expect(lanes.bits == model.bits, "sums: \(note)", sourceLocation: sourceLocation)
    #expect(
      lanes.nonfiniteTarget == model.nonfiniteTarget && lanes.nonfiniteReference == model.nonfiniteReference,
      "not finite: \(note)", sourceLocation: sourceLocation)
    if model.nonfiniteTarget + model.nonfiniteReference == 0 {
      #expect(
        lanes.largestDifference == model.largestDifference
          && lanes.largestDifferenceIndex == model.largestDifferenceIndex
          && lanes.largestReference == model.largestReference, "largest: \(note)", sourceLocation: sourceLocation)
    }
    let size = elementBytes ?? max(1, samples.format.bitCount / 8)
    let unequal = zip(samples.target, samples.reference).map { $0 != $1 }
    let elements = stride(from: 0, to: unequal.count, by: size).count {
      unequal[$0..<min($0 + size, unequal.count)].contains(true)
    }
    #expect(
      lanes.unequalBytes == unequal.count { $0 } && lanes.unequalElements == elements, "unequal: \(note)",
      sourceLocation: sourceLocation)
  }

  @Test("are what the definition gives, at any length", arguments: LaneFormat.allCases, sets)
  func lengths(format: LaneFormat, set: InstructionSet) {
    for kind in Samples.Kind.allCases {
      for count in [2, 14, 16, 30, 34, 64, 96, 1000, 2048, 2080, 4100, 8300] {
        let samples = Samples(format, kind, count: count, seed: UInt64(count))
        check(lanes(samples, set), samples, "\(count) \(kind)")
      }
    }
    for count in [1, 3, 31, 33, 37, 2047, 2049] where format != .nibbleCodes {
      let samples = Samples(format, .tame, count: count, seed: UInt64(count))
      check(lanes(samples, set), samples, "\(count)")
    }
  }

  @Test("of codes are looked up, whatever their numbers need", arguments: [LaneFormat.byteCodes, .nibbleCodes], sets)
  func codes(format: LaneFormat, set: InstructionSet) {
    for kind in Samples.Kind.allCases {
      for count in [16, 32, 48, 4100] {
        let samples = Samples(format, kind, count: count, seed: 11, table: Samples.longNumbers)
        check(lanes(samples, set), samples, "\(count) \(kind)")
      }
    }
    // Every code, in whole registers of both sides.
    for table in [Samples.shortNumbers, Samples.longNumbers] where format == .byteCodes {
      var samples = Samples(format, .tame, count: 256, seed: 12, table: table)
      samples.target = (0..<255).map { UInt8($0) } + [0]
      samples.reference = samples.target.reversed()
      check(lanes(samples, set), samples, "every code")
    }
  }

  @Test("have the same bits however they are cut, from any lane", arguments: LaneFormat.allCases, sets)
  func cuts(format: LaneFormat, set: InstructionSet) {
    for kind in Samples.Kind.allCases {
      let samples = Samples(format, kind, count: 3000, seed: 5)
      for (lane, cuts) in [(0, [32, 64, 1024]), (6, [2, 8, 30, 500]), (30, [2, 2048]), (2, []), (16, [16, 2032])] {
        check(lanes(samples, set, lane: lane, cuts: cuts), samples, lane: lane, "\(lane) \(cuts) \(kind)")
      }
    }
  }

  @Test("of equal bytes, and of bytes that differ at one place", arguments: LaneFormat.allCases, sets)
  func equal(format: LaneFormat, set: InstructionSet) {
    for kind in Samples.Kind.allCases {
      var samples = Samples(format, kind, count: 4200, seed: 6)
      samples.target = samples.reference
      check(lanes(samples, set), samples, "all equal, \(kind)")
      check(lanes(samples, set, lane: 10, cuts: [22, 100]), samples, lane: 10, "all equal, cut, \(kind)")
      for place in [0, 9, samples.target.count / 2, samples.target.count - 1] {
        var other = samples
        other.target[place] ^= 1
        check(lanes(other, set), other, "\(place), \(kind)")
        check(lanes(other, set, cuts: [1000, 2048]), other, "\(place), cut, \(kind)")
      }
    }
  }

  @Test("pass what is special: zeros of both signs, infinity, NaN, numbers below normal", arguments: sets)
  func special(set: InstructionSet) {
    let halves: [UInt16] = [
      0x0000, 0x8000, 0x0001, 0x8001, 0x03FF, 0x0400, 0x7BFF, 0x7C00, 0xFC00, 0x7C01, 0x7E00, 0xFFFF, 0x3C00,
    ]
    for format in [LaneFormat.float16, .bfloat16] {
      for left in halves {
        for right in halves {
          var samples = Samples(format, .tame, count: 64, seed: 7)
          samples.reference = samples.target
          (samples.target[10], samples.target[11]) = (UInt8(left & 255), UInt8(left >> 8))
          (samples.reference[10], samples.reference[11]) = (UInt8(right & 255), UInt8(right >> 8))
          check(lanes(samples, set), samples, "\(format) \(left) \(right)")
        }
      }
    }
    let zeros = Samples(.bfloat16, .tame, count: 0, seed: 1)
    #expect(lanes(zeros, set).bits == [0, 0, 0, 0, 0])
    var signs = Samples(.float32, .tame, count: 70, seed: 8)
    signs.target = Array(repeating: 0, count: 280)
    signs.reference = signs.target.enumerated().map { $0.offset % 4 == 3 ? 0x80 : 0 }
    let result = lanes(signs, set)
    #expect(result.bits == [0, 0, 0, 0, 0] && result.unequalElements == 70 && result.unequalBytes == 70)
  }

  @Test("pass NaN over for the largest of the others", arguments: [LaneFormat.float16, .bfloat16, .float32], sets)
  func largestBesideNaN(format: LaneFormat, set: InstructionSet) {
    var samples = Samples(format, .tame, count: 200, seed: 12)
    let size = format.bitCount / 8
    for side in [false, true] {
      // All ones: in the first run of 32, then on both sides.
      for byte in 5 * size..<6 * size { samples.reference[byte] = 0xFF }
      if side { samples.target = samples.reference }
      let sums = lanes(samples, set)
      let model = PairModel(target: samples.targetValues, reference: samples.referenceValues)
      #expect(sums.largestReference == model.largestReference && model.largestReference > 0)
      #expect(sums.largestDifference == model.largestDifference)
      #expect(sums.nonfiniteReference == 1 && sums.nonfiniteTarget == (side ? 1 : 0))
    }
  }

  @Test("every half is read for what it is", arguments: [LaneFormat.float16, .bfloat16], sets)
  func everyHalf(format: LaneFormat, set: InstructionSet) {
    for start in stride(from: 0, to: 65536, by: 64) {
      var samples = Samples(format, .tame, count: 64, seed: 9)
      samples.target = (start..<(start + 64)).flatMap { [UInt8($0 & 255), UInt8($0 >> 8)] }
      let sums = lanes(samples, set)
      #expect(sums.bits == PairModel(target: samples.targetValues, reference: samples.referenceValues).bits, "\(start)")
    }
  }

  @Test(
    "count elements of other sizes than a value's",
    arguments: [(LaneFormat.float32, 8), (.float64, 16), (.float16, 4)], sets)
  func elements(pair: (LaneFormat, Int), set: InstructionSet) {
    var samples = Samples(pair.0, .tame, count: 2000, seed: 10)
    for index in samples.target.indices where index % 3 != 0 { samples.target[index] = samples.reference[index] }
    check(
      lanes(samples, set, elementBytes: pair.1), samples, elementBytes: pair.1, "\(pair)")
  }

  @Test("raise the largest difference only where it was less")
  func floor() {
    let samples = Samples(.float32, .tame, count: 500, seed: 11)
    let model = PairModel(target: samples.targetValues, reference: samples.referenceValues)
    for floor in [0, model.largestDifference * 0.99, model.largestDifference] {
      var lanes = PairLanes()
      lanes.largestDifference = floor
      samples.target.withUnsafeBytes { a in
        samples.reference.withUnsafeBytes { b in
          guard let a = a.baseAddress, let b = b.baseAddress else { return }
          Kernels.addPairs(.float32, PairRun(target: a, reference: b, count: 500, elementBytes: 4), to: &lanes)
        }
      }
      #expect(lanes.largestDifference == model.largestDifference)
      #expect(lanes.largestDifferenceIndex == (floor < model.largestDifference ? model.largestDifferenceIndex : nil))
    }
  }
}
