import CKernels
package import TensorLanes

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

// The loops over pairs. Several targets compile this folder, each for another instruction set, and the one that
// the processor can run is chosen at run time (`InstructionSet`). Two rules keep them apart: between targets go
// pointers and integers alone, for a vector would be passed in other registers; and nothing generic of another module
// may be left to be called, for its compiled form would be shared, whichever
// target brings it. All in one file: without whole-module optimisation generics are specialised within a file only.

package enum PairLoops {
  /// Adds a run of pairs.
  @inline(never)
  package static func add(_ format: LaneFormat, _ run: PairRun, to lanes: inout PairLanes) {
    withUnsafeMutablePointer(to: &lanes) { lanes in
      var work = Work(format: format, run: run, lanes: lanes)
      kernels_with_scratch(
        { work, scratch in
          guard let work, let scratch else { return }
          PairLoops.add(work.assumingMemoryBound(to: Work.self).pointee, scratch)
        }, &work)
    }
  }

  private struct Work {
    var format: LaneFormat
    var run: PairRun
    var lanes: UnsafeMutablePointer<PairLanes>
  }

  @inline(__always)
  private static func add(_ work: Work, _ scratch: UnsafeMutableRawPointer) {
    let (run, lanes) = (work.run, work.lanes)
    switch work.format {
    case .float64: PairPass<Float64Format>.add(run, &lanes.pointee, scratch)
    case .float32: PairPass<Float32Format>.add(run, &lanes.pointee, scratch)
    case .float16: PairPass<Float16Format>.add(run, &lanes.pointee, scratch)
    case .bfloat16: PairPass<BFloat16Format>.add(run, &lanes.pointee, scratch)
    case .int64: PairPass<Int64Format>.add(run, &lanes.pointee, scratch)
    case .int32: PairPass<Int32Format>.add(run, &lanes.pointee, scratch)
    case .int16: PairPass<Int16Format>.add(run, &lanes.pointee, scratch)
    case .uint64: PairPass<UInt64Format>.add(run, &lanes.pointee, scratch)
    case .uint32: PairPass<UInt32Format>.add(run, &lanes.pointee, scratch)
    case .uint16: PairPass<UInt16Format>.add(run, &lanes.pointee, scratch)
    case .int8: PairPass<Int8Format>.add(run, &lanes.pointee, scratch)
    case .uint8: PairPass<UInt8Format>.add(run, &lanes.pointee, scratch)
    case .byteCodes: PairPass<ByteCodeFormat>.add(run, &lanes.pointee, scratch)
    case .nibbleCodes: PairPass<NibbleCodeFormat>.add(run, &lanes.pointee, scratch)
    }
  }
}

/// One format's pass over a run, piece by piece, each small enough to stay in the nearest cache.
private enum PairPass<Format: PairFormat> {
  typealias Numbers = Format.Numbers
  typealias Number = Format.Numbers.Number

  /// Values of a piece at most.
  static var pieceValues: Int { Int(KERNELS_SCRATCH_BYTES) / 2 / MemoryLayout<Number>.size }

  @inline(__always)
  static func byteCount(_ values: Int) -> Int { (values &* Format.bitCount) &>> 3 }

  @inline(__always)
  static func add(_ run: PairRun, _ lanes: inout PairLanes, _ scratch: UnsafeMutableRawPointer) {
    let left = scratch.assumingMemoryBound(to: Number.self)
    add(run, &lanes, left, left + pieceValues)
  }

  @inline(__always)
  static func add(
    _ run: PairRun, _ lanes: inout PairLanes, _ left: UnsafeMutablePointer<Number>,
    _ right: UnsafeMutablePointer<Number>
  ) {
    lanes.largestDifferenceIndex = nil
    lanes.largestReference = 0
    lanes.unequalBytes = 0
    lanes.unequalElements = 0
    lanes.nonfiniteTarget = 0
    lanes.nonfiniteReference = 0
    var done = 0
    if lanes.contents != .pairs {
      if lanes.contents == .nothing { lanes.reference = Lanes32() }
      let before = lanes.reference
      done = addEqual(run, &lanes, left)
      if !folded(lanes.reference).isFinite {
        // Equal bytes have no difference, but for NaN and infinity.
        lanes.reference = before
        lanes.largestReference = 0
        done = 0
      }
      if done == run.count {
        lanes.contents = .equalValues
        return
      }
      lanes.dot = lanes.reference
      lanes.target = lanes.reference
      lanes.difference = Lanes32()
      lanes.magnitude = Lanes32()
      lanes.contents = .pairs
    }
    addUnequal(run, from: done, &lanes, left, right)
    // An infinite square of finite numbers only costs the count.
    if !folded(lanes.difference).isFinite || !folded(lanes.reference).isFinite {
      lanes.nonfiniteTarget = nonfinite(run, run.target, left)
      lanes.nonfiniteReference = nonfinite(run, run.reference, right)
    }
  }

  /// Values of the piece that starts at `done`.
  @inline(__always)
  static func pieceCount(_ run: PairRun, _ done: Int) -> Int {
    min(run.count &- done, pieceValues &- ((run.lane &+ done) & 31))
  }

  // MARK: equal bytes

  /// Adds pieces up to the first that differs; gives the values added.
  @inline(__always)
  static func addEqual(_ run: PairRun, _ lanes: inout PairLanes, _ scratch: UnsafeMutablePointer<Number>) -> Int {
    var done = 0
    var sum = lanes.reference
    while done < run.count {
      let lane = (run.lane &+ done) & 31
      let swept = sweptCount(run, done, lane)
      let count = swept > 0 ? swept : pieceCount(run, done)
      let a = run.target + byteCount(done)
      let b = run.reference + byteCount(done)
      // Most pieces that differ do so at once.
      guard memcmp(a, b, min(byteCount(count), 256)) == 0 else { break }
      let largest: Double?
      if swept > 0 {
        largest = sweepEqual(a, b, count &>> 5, &sum)
      } else if Format.isHalf, lane == 0, count & 31 == 0 {
        largest = addEqualGroups(a, b, count &>> 5, &sum)
      } else {
        largest = addEqualRest(a, b, count, lane, run.table, scratch, &sum)
      }
      guard let largest else { break }
      if largest > lanes.largestReference { lanes.largestReference = largest }
      done &+= count
    }
    lanes.reference = sum
    return done
  }

  /// Compares and squares in one go; gives max|b|, or nil, and leaves the sum alone, where the bytes differ.
  @inline(__always)
  static func addEqualGroups(
    _ target: UnsafeRawPointer, _ reference: UnsafeRawPointer, _ groups: Int, _ sum: inout Lanes32
  ) -> Double? {
    var low = sum.low
    var high = sum.high
    var difference = kernels_bytes(repeating: 0)
    var peak = kernels_bytes(repeating: 0)
    var offset = 0
    let end = groups &* 64
    while offset < end {
      let b = reference + offset
      low = Numbers.addSquares(Format.wide(b), to: low)
      high = Numbers.addSquares(Format.wide(b + 32), to: high)
      difference = kernels_add_difference(target + offset, b, difference)
      peak = kernels_add_peak(b, peak)
      offset &+= 64
    }
    guard kernels_is_zero(difference) != 0 else { return nil }
    sum.low = low
    sum.high = high
    return largest(UInt32(kernels_largest_code(peak)), reference, groups)
  }

  @inline(__always)
  static func addEqualRest(
    _ target: UnsafeRawPointer, _ reference: UnsafeRawPointer, _ count: Int, _ lane: Int,
    _ table: UnsafePointer<Float>?, _ scratch: UnsafeMutablePointer<Number>, _ sum: inout Lanes32
  ) -> Double? {
    guard memcmp(target, reference, byteCount(count)) == 0 else { return nil }
    let piece = staged(reference, count, lane, table, scratch)
    for group in 0..<piece.groups {
      let base = piece.base + group &* 32 &* MemoryLayout<Number>.size
      sum.low = Numbers.addSquares(Numbers.sixteen(base), to: sum.low)
      sum.high = Numbers.addSquares(Numbers.sixteen(base + 16 &* MemoryLayout<Number>.size), to: sum.high)
    }
    return Numbers.largest(piece.base, groups: 2 &* piece.groups)
  }

  // MARK: whole sweeps

  /// Values that are swept as they stand in the file, from `done` on: whole groups, few enough that to look at them
  /// once more costs little; 0 where this format or instruction set has no sweep.
  @inline(__always)
  static func sweptCount(_ run: PairRun, _ done: Int, _ lane: Int) -> Int {
    Format.isSwept && lane == 0 ? min(run.count &- done, 4096) & ~31 : 0
  }

  /// Gives max|b|, or nil, and leaves the sum alone, where the bytes differ.
  @inline(__always)
  static func sweepEqual(
    _ target: UnsafeRawPointer, _ reference: UnsafeRawPointer, _ groups: Int, _ sum: inout Lanes32
  ) -> Double? {
    var peak: UInt32 = 0
    guard Format.sweepEqual(target, reference, UInt64(groups), &sum, &peak) != 0 else { return nil }
    return largest(peak, reference, groups)
  }

  @inline(__always)
  static func sweepPairs(
    _ target: UnsafeRawPointer, _ reference: UnsafeRawPointer, _ groups: Int, first: Int, _ lanes: inout PairLanes
  ) {
    let found = Format.sweep(target, reference, UInt64(groups), &lanes)
    lanes.unequalBytes &+= byteCount(groups &* 32) &- Int(found.equal_bytes)
    lanes.unequalElements &+= groups &* 32 &- Int(found.equal_elements)
    let largest = largest(found.peak, reference, groups)
    if largest > lanes.largestReference { lanes.largestReference = largest }
    guard found.largest > lanes.largestDifference else { return }
    lanes.largestDifference = found.largest
    var index = Int(Format.seek(target, reference, UInt64(groups), found.largest)) &* 32
    while index < groups &* 32 {
      let difference = Format.value(target + byteCount(index)) - Format.value(reference + byteCount(index))
      if difference.magnitude == found.largest { break }
      index &+= 1
    }
    lanes.largestDifferenceIndex = first &+ index
  }

  /// max|b| of which the code is known; NaN is passed over.
  @inline(__always)
  static func largest(_ code: UInt32, _ reference: UnsafeRawPointer, _ groups: Int) -> Double {
    var code = code
    let value = Format.value(&code)
    guard value.isNaN else { return value }
    var result = 0.0
    for index in 0..<(groups &* 32) {
      let size = Format.value(reference + byteCount(index)).magnitude
      if size > result { result = size }
    }
    return result
  }

  // MARK: all others

  @inline(__always)
  static func addUnequal(
    _ run: PairRun, from first: Int, _ lanes: inout PairLanes, _ left: UnsafeMutablePointer<Number>,
    _ right: UnsafeMutablePointer<Number>
  ) {
    var done = first
    while done < run.count {
      let lane = (run.lane &+ done) & 31
      let offset = byteCount(done)
      let swept = run.elementBytes &* 8 == Format.bitCount ? sweptCount(run, done, lane) : 0
      if swept > 0 {
        sweepPairs(run.target + offset, run.reference + offset, swept &>> 5, first: done, &lanes)
        done &+= swept
        continue
      }
      let count = pieceCount(run, done)
      let a: Piece
      let b: Piece
      let largestReference: Double
      if Format.isHalf, lane == 0, count & 31 == 0, run.elementBytes == 2 {
        largestReference = expandHalves(run.target + offset, run.reference + offset, count &>> 5, left, right, &lanes)
        a = Piece(base: UnsafeRawPointer(left), groups: count &>> 5, isShifted: true)
        b = Piece(base: UnsafeRawPointer(right), groups: count &>> 5, isShifted: true)
      } else {
        a = staged(run.target + offset, count, lane, run.table, left)
        b = staged(run.reference + offset, count, lane, run.table, right)
        largestReference = Numbers.largest(b.base, groups: 2 &* b.groups)
        UnequalCount.add(run.target + offset, run.reference + offset, byteCount(count), run.elementBytes, &lanes)
      }
      let largest = sweep(a.base, b.base, a.groups, &lanes)
      if largest > lanes.largestDifference {
        lanes.largestDifference = largest
        lanes.largestDifferenceIndex = done &+ firstPair(a.base, b.base, a.groups, largest) &- (a.isShifted ? lane : 0)
      }
      if largestReference > lanes.largestReference { lanes.largestReference = largestReference }
      done &+= count
    }
  }

  /// Expands and counts groups of 32 in one go; gives max|b|.
  @inline(__always)
  static func expandHalves(
    _ target: UnsafeRawPointer, _ reference: UnsafeRawPointer, _ groups: Int, _ left: UnsafeMutablePointer<Number>,
    _ right: UnsafeMutablePointer<Number>, _ lanes: inout PairLanes
  ) -> Double {
    var bytes = kernels_bytes(repeating: 0)
    var elements = kernels_bytes(repeating: 0)
    var peak = kernels_bytes(repeating: 0)
    for group in 0..<groups {
      let a = target + group &* 64
      let b = reference + group &* 64
      bytes = kernels_add_equal8(a, b, bytes)
      elements = kernels_add_equal16(a, b, elements)
      peak = kernels_add_peak(b, peak)
      Format.expand(a, nil, left + group &* 32)
      Format.expand(a + 32, nil, left + (group &* 32 &+ 16))
      Format.expand(b, nil, right + group &* 32)
      Format.expand(b + 32, nil, right + (group &* 32 &+ 16))
    }
    lanes.unequalBytes &+= groups &* 64 &- Int(kernels_total8(bytes))
    lanes.unequalElements &+= groups &* 32 &- Int(kernels_total16(elements))
    return largest(UInt32(kernels_largest_code(peak)), reference, groups)
  }

  /// Every sum of groups of 32, as many lanes at a time as the registers hold; gives max|a-b|.
  @inline(__always)
  static func sweep(
    _ target: UnsafeRawPointer, _ reference: UnsafeRawPointer, _ groups: Int, _ lanes: inout PairLanes
  ) -> Double {
    let size = MemoryLayout<Number>.size
    var largest = kernels_lanes(repeating: 0)
    var lane = 0
    while lane < 32 {
      var dot = part(&lanes.dot, lane)
      var targetSquares = part(&lanes.target, lane)
      var referenceSquares = part(&lanes.reference, lane)
      var squares = part(&lanes.difference, lane)
      var magnitudes = part(&lanes.magnitude, lane)
      var offset = lane &* size
      let end = groups &* 32 &* size
      while offset < end {
        let a = Numbers.lanes(target + offset)
        let b = Numbers.lanes(reference + offset)
        dot = Numbers.add(a, b, to: dot)
        targetSquares = Numbers.add(a, a, to: targetSquares)
        referenceSquares = Numbers.add(b, b, to: referenceSquares)
        let difference = kernels_magnitude(a - b)
        squares += difference * difference
        magnitudes += difference
        largest.replace(with: difference, where: difference .> largest)
        offset &+= 32 &* size
      }
      put(dot, &lanes.dot, lane)
      put(targetSquares, &lanes.target, lane)
      put(referenceSquares, &lanes.reference, lane)
      put(squares, &lanes.difference, lane)
      put(magnitudes, &lanes.magnitude, lane)
      lane &+= Int(KERNELS_LANES)
    }
    return kernels_largest(largest)
  }

  @inline(__always)
  static func part(_ lanes: inout Lanes32, _ first: Int) -> kernels_lanes {
    withUnsafeBytes(of: &lanes) { $0.loadUnaligned(fromByteOffset: first &* 8, as: kernels_lanes.self) }
  }

  @inline(__always)
  static func put(_ values: kernels_lanes, _ lanes: inout Lanes32, _ first: Int) {
    withUnsafeMutableBytes(of: &lanes) { $0.storeBytes(of: values, toByteOffset: first &* 8, as: kernels_lanes.self) }
  }

  /// Position of the first pair whose |a-b| is `difference`.
  @inline(__always)
  static func firstPair(
    _ target: UnsafeRawPointer, _ reference: UnsafeRawPointer, _ groups: Int, _ difference: Double
  ) -> Int {
    let size = MemoryLayout<Number>.size
    var index = 0
    while index < groups &* 32 {
      let a = target.loadUnaligned(fromByteOffset: index &* size, as: Number.self)
      let b = reference.loadUnaligned(fromByteOffset: index &* size, as: Number.self)
      if (Double(a) - Double(b)).magnitude == difference { break }
      index &+= 1
    }
    return index
  }

  // MARK: pieces

  struct Piece {
    var base: UnsafeRawPointer
    /// Groups of 32 numbers.
    var groups: Int
    /// The first value stands at its lane, and not at `base`.
    var isShifted: Bool
  }

  /// A piece as whole groups of 32 numbers: in place where it is such already, else in `scratch`, with zeros,
  /// which add nothing, in the lanes before and after.
  @inline(__always)
  static func staged(
    _ source: UnsafeRawPointer, _ count: Int, _ lane: Int, _ table: UnsafePointer<Float>?,
    _ scratch: UnsafeMutablePointer<Number>
  ) -> Piece {
    let groups = (lane &+ count &+ 31) &>> 5
    if Format.isInPlace, lane == 0, count & 31 == 0 { return Piece(base: source, groups: groups, isShifted: false) }
    // Sixteen at a time.
    let whole = lane == 0 ? count &>> 4 : 0
    for group in Format.expandGroups(source, whole, table, scratch)..<whole {
      Format.expand(source + byteCount(group &* 16), table, scratch + group &* 16)
    }
    if whole < 2 &* groups {
      stageRest(source + byteCount(whole &* 16), count &- whole &* 16, lane, table, scratch + whole &* 16)
      var end = lane &+ count
      while end < groups &* 32 {
        scratch[end] = 0
        end &+= 1
      }
    }
    return Piece(base: UnsafeRawPointer(scratch), groups: groups, isShifted: true)
  }

  /// Values that fill no whole groups, or stand off their lanes.
  @inline(__always)
  static func stageRest(
    _ source: UnsafeRawPointer, _ count: Int, _ lane: Int, _ table: UnsafePointer<Float>?,
    _ scratch: UnsafeMutablePointer<Number>
  ) {
    var codes = SIMD16<UInt64>(repeating: 0)
    var numbers = (SIMD16<Double>(repeating: 0))
    for index in 0..<lane { scratch[index] = 0 }
    withUnsafeMutableBytes(of: &codes) { codes in
      withUnsafeMutableBytes(of: &numbers) { numbers in
        guard let codes = codes.baseAddress, let numbers = numbers.baseAddress else { return }
        let numbers16 = numbers.assumingMemoryBound(to: Number.self)
        var done = 0
        while done < count {
          let part = min(16, count &- done)
          codes.copyMemory(from: source + byteCount(done), byteCount: byteCount(part))
          Format.expand(codes, table, numbers16)
          for index in 0..<part { scratch[lane &+ done &+ index] = numbers16[index] }
          done &+= part
        }
      }
    }
  }

  /// How many values of one side are NaN or infinite.
  @inline(__always)
  static func nonfinite(_ run: PairRun, _ source: UnsafeRawPointer, _ scratch: UnsafeMutablePointer<Number>) -> Int {
    var result = 0
    var done = 0
    while done < run.count {
      let count = min(run.count &- done, pieceValues)
      let piece = staged(source + byteCount(done), count, 0, run.table, scratch)
      for index in 0..<count {
        let number = piece.base.loadUnaligned(
          fromByteOffset: index &* MemoryLayout<Number>.size, as: Number.self)
        if !Double(number).isFinite { result &+= 1 }
      }
      done &+= count
    }
    return result
  }
}

// MARK: numbers

/// The number type in which a kernel meets the values of a format: read in place, or expanded to it first.
private protocol Stage {
  associatedtype Number: BinaryFloatingPoint & SIMDScalar

  /// So many lanes of values at any alignment.
  static func lanes(_ source: UnsafeRawPointer) -> kernels_lanes
  static func sixteen(_ source: UnsafeRawPointer) -> SIMD16<Double>
  /// sum + a·b, the product rounded.
  static func add(_ a: kernels_lanes, _ b: kernels_lanes, to sum: kernels_lanes) -> kernels_lanes
  static func addSquares(_ a: SIMD16<Double>, to sum: SIMD16<Double>) -> SIMD16<Double>
  /// max|b| of groups of 16; NaN is passed over.
  static func largest(_ source: UnsafeRawPointer, groups: Int) -> Double
}

/// Products of two floats are exact in double precision: fused or not, the bits are the same.
private enum SingleStage: Stage {
  typealias Number = Float

  @inline(__always)
  static func lanes(_ source: UnsafeRawPointer) -> kernels_lanes { kernels_widen(source) }

  @inline(__always)
  static func sixteen(_ source: UnsafeRawPointer) -> SIMD16<Double> { kernels_widen16(source) }

  @inline(__always)
  static func add(_ a: kernels_lanes, _ b: kernels_lanes, to sum: kernels_lanes) -> kernels_lanes {
    kernels_add_exact(a, b, sum)
  }

  @inline(__always)
  static func addSquares(_ a: SIMD16<Double>, to sum: SIMD16<Double>) -> SIMD16<Double> {
    kernels_add_exact16(a, a, sum)
  }

  @inline(__always)
  static func largest(_ source: UnsafeRawPointer, groups: Int) -> Double {
    var result = SIMD16<Float>(repeating: 0)
    for group in 0..<groups {
      let values = source.loadUnaligned(fromByteOffset: group &* 64, as: SIMD16<Float>.self)
      let sizes = kernels_magnitude16(values)
      result.replace(with: sizes, where: sizes .> result)
    }
    return Double(kernels_largest_float(result))
  }
}

private enum DoubleStage: Stage {
  typealias Number = Double

  @inline(__always)
  static func lanes(_ source: UnsafeRawPointer) -> kernels_lanes { source.loadUnaligned(as: kernels_lanes.self) }

  @inline(__always)
  static func sixteen(_ source: UnsafeRawPointer) -> SIMD16<Double> {
    source.loadUnaligned(as: SIMD16<Double>.self)
  }

  @inline(__always)
  static func add(_ a: kernels_lanes, _ b: kernels_lanes, to sum: kernels_lanes) -> kernels_lanes { sum + a * b }

  @inline(__always)
  static func addSquares(_ a: SIMD16<Double>, to sum: SIMD16<Double>) -> SIMD16<Double> { sum + a * a }

  @inline(__always)
  static func largest(_ source: UnsafeRawPointer, groups: Int) -> Double {
    var result = kernels_lanes(repeating: 0)
    for part in 0..<(groups &* 16 / Int(KERNELS_LANES)) {
      let sizes = kernels_magnitude(lanes(source + part &* MemoryLayout<kernels_lanes>.size))
      result.replace(with: sizes, where: sizes .> result)
    }
    return kernels_largest(result)
  }
}

// MARK: formats

/// How the values of one format become numbers of its stage.
private protocol PairFormat {
  associatedtype Numbers: Stage
  static var bitCount: Int { get }
  /// The values stand in the file as the stage's numbers.
  static var isInPlace: Bool { get }
  /// Expands 16 values.
  ///
  /// - Parameter table: what each code stands for; formats without codes pass it over.
  static func expand(
    _ source: UnsafeRawPointer, _ table: UnsafePointer<Float>?, _ target: UnsafeMutablePointer<Numbers.Number>)
  /// Expands groups of 16 values together; gives how many it did, from the first on.
  static func expandGroups(
    _ source: UnsafeRawPointer, _ groups: Int, _ table: UnsafePointer<Float>?,
    _ target: UnsafeMutablePointer<Numbers.Number>
  ) -> Int
  /// A floating-point type of 16 bits: the two functions below are there.
  static var isHalf: Bool { get }
  /// 16 values.
  static func wide(_ source: UnsafeRawPointer) -> SIMD16<Double>
  static func value(_ source: UnsafeRawPointer) -> Double
  /// `value` and the three functions below are there: they take 32 values at a time as they stand in the file.
  static var isSwept: Bool { get }
  static func sweep(
    _ target: UnsafeRawPointer, _ reference: UnsafeRawPointer, _ groups: UInt64, _ lanes: inout PairLanes
  ) -> kernels_found
  /// Adds b² where both are the same bytes; then the result is not 0, and `peak` the largest code.
  static func sweepEqual(
    _ target: UnsafeRawPointer, _ reference: UnsafeRawPointer, _ groups: UInt64, _ sum: UnsafeMutableRawPointer,
    _ peak: UnsafeMutablePointer<UInt32>
  ) -> Int32
  /// The group that holds the largest |a-b|.
  static func seek(
    _ target: UnsafeRawPointer, _ reference: UnsafeRawPointer, _ groups: UInt64, _ largest: Double
  ) -> UInt64
}

extension PairFormat {
  static var isInPlace: Bool { false }
  @inline(__always)
  static func expandGroups(
    _ source: UnsafeRawPointer, _ groups: Int, _ table: UnsafePointer<Float>?,
    _ target: UnsafeMutablePointer<Numbers.Number>
  ) -> Int { 0 }
  static var isHalf: Bool { false }
  @inline(__always)
  static func wide(_ source: UnsafeRawPointer) -> SIMD16<Double> { SIMD16(repeating: .nan) }
  @inline(__always)
  static func value(_ source: UnsafeRawPointer) -> Double { .nan }
  static var isSwept: Bool { false }
  @inline(__always)
  static func sweep(
    _ target: UnsafeRawPointer, _ reference: UnsafeRawPointer, _ groups: UInt64, _ lanes: inout PairLanes
  ) -> kernels_found { kernels_found() }
  @inline(__always)
  static func sweepEqual(
    _ target: UnsafeRawPointer, _ reference: UnsafeRawPointer, _ groups: UInt64, _ sum: UnsafeMutableRawPointer,
    _ peak: UnsafeMutablePointer<UInt32>
  ) -> Int32 { 0 }
  @inline(__always)
  static func seek(
    _ target: UnsafeRawPointer, _ reference: UnsafeRawPointer, _ groups: UInt64, _ largest: Double
  ) -> UInt64 { 0 }
}

private enum Float64Format: PairFormat {
  typealias Numbers = DoubleStage
  static var bitCount: Int { 64 }
  static var isInPlace: Bool { true }

  @inline(__always)
  static func expand(_ source: UnsafeRawPointer, _ table: UnsafePointer<Float>?, _ target: UnsafeMutablePointer<Double>)
  {
    UnsafeMutableRawPointer(target).copyMemory(from: source, byteCount: 128)
  }
}

private enum Float32Format: PairFormat {
  typealias Numbers = SingleStage
  static var bitCount: Int { 32 }
  static var isInPlace: Bool { true }

  @inline(__always)
  static func expand(_ source: UnsafeRawPointer, _ table: UnsafePointer<Float>?, _ target: UnsafeMutablePointer<Float>)
  {
    UnsafeMutableRawPointer(target).copyMemory(from: source, byteCount: 64)
  }

  @inline(__always)
  static func value(_ source: UnsafeRawPointer) -> Double { Double(source.loadUnaligned(as: Float.self)) }

  static var isSwept: Bool { KERNELS_SWEEPS != 0 }

  @inline(__always)
  static func sweep(
    _ target: UnsafeRawPointer, _ reference: UnsafeRawPointer, _ groups: UInt64, _ lanes: inout PairLanes
  ) -> kernels_found {
    kernels_sweep_float32(
      target, reference, groups, &lanes.dot, &lanes.target, &lanes.reference, &lanes.difference, &lanes.magnitude)
  }

  @inline(__always)
  static func sweepEqual(
    _ target: UnsafeRawPointer, _ reference: UnsafeRawPointer, _ groups: UInt64, _ sum: UnsafeMutableRawPointer,
    _ peak: UnsafeMutablePointer<UInt32>
  ) -> Int32 { kernels_sweep_equal_float32(target, reference, groups, sum, peak) }

  @inline(__always)
  static func seek(
    _ target: UnsafeRawPointer, _ reference: UnsafeRawPointer, _ groups: UInt64, _ largest: Double
  ) -> UInt64 { kernels_seek_float32(target, reference, groups, largest) }
}

private enum Float16Format: PairFormat {
  typealias Numbers = SingleStage
  static var bitCount: Int { 16 }

  @inline(__always)
  static func expand(_ source: UnsafeRawPointer, _ table: UnsafePointer<Float>?, _ target: UnsafeMutablePointer<Float>)
  {
    kernels_float16(source, target)
  }

  static var isHalf: Bool { true }

  @inline(__always)
  static func wide(_ source: UnsafeRawPointer) -> SIMD16<Double> { kernels_wide_float16(source) }

  @inline(__always)
  static func value(_ source: UnsafeRawPointer) -> Double { kernels_value_float16(source) }

  static var isSwept: Bool { KERNELS_SWEEPS != 0 }

  @inline(__always)
  static func sweep(
    _ target: UnsafeRawPointer, _ reference: UnsafeRawPointer, _ groups: UInt64, _ lanes: inout PairLanes
  ) -> kernels_found {
    kernels_sweep_float16(
      target, reference, groups, &lanes.dot, &lanes.target, &lanes.reference, &lanes.difference, &lanes.magnitude)
  }

  @inline(__always)
  static func sweepEqual(
    _ target: UnsafeRawPointer, _ reference: UnsafeRawPointer, _ groups: UInt64, _ sum: UnsafeMutableRawPointer,
    _ peak: UnsafeMutablePointer<UInt32>
  ) -> Int32 { kernels_sweep_equal_float16(target, reference, groups, sum, peak) }

  @inline(__always)
  static func seek(
    _ target: UnsafeRawPointer, _ reference: UnsafeRawPointer, _ groups: UInt64, _ largest: Double
  ) -> UInt64 { kernels_seek_float16(target, reference, groups, largest) }
}

private enum BFloat16Format: PairFormat {
  typealias Numbers = SingleStage
  static var bitCount: Int { 16 }

  @inline(__always)
  static func expand(_ source: UnsafeRawPointer, _ table: UnsafePointer<Float>?, _ target: UnsafeMutablePointer<Float>)
  {
    kernels_bfloat16(source, target)
  }

  static var isHalf: Bool { true }

  @inline(__always)
  static func wide(_ source: UnsafeRawPointer) -> SIMD16<Double> { kernels_wide_bfloat16(source) }

  @inline(__always)
  static func value(_ source: UnsafeRawPointer) -> Double { kernels_value_bfloat16(source) }

  static var isSwept: Bool { KERNELS_SWEEPS != 0 }

  @inline(__always)
  static func sweep(
    _ target: UnsafeRawPointer, _ reference: UnsafeRawPointer, _ groups: UInt64, _ lanes: inout PairLanes
  ) -> kernels_found {
    kernels_sweep_bfloat16(
      target, reference, groups, &lanes.dot, &lanes.target, &lanes.reference, &lanes.difference, &lanes.magnitude)
  }

  @inline(__always)
  static func sweepEqual(
    _ target: UnsafeRawPointer, _ reference: UnsafeRawPointer, _ groups: UInt64, _ sum: UnsafeMutableRawPointer,
    _ peak: UnsafeMutablePointer<UInt32>
  ) -> Int32 { kernels_sweep_equal_bfloat16(target, reference, groups, sum, peak) }

  @inline(__always)
  static func seek(
    _ target: UnsafeRawPointer, _ reference: UnsafeRawPointer, _ groups: UInt64, _ largest: Double
  ) -> UInt64 { kernels_seek_bfloat16(target, reference, groups, largest) }
}

private enum Int64Format: PairFormat {
  typealias Numbers = DoubleStage
  static var bitCount: Int { 64 }

  @inline(__always)
  static func expand(_ source: UnsafeRawPointer, _ table: UnsafePointer<Float>?, _ target: UnsafeMutablePointer<Double>)
  {
    kernels_int64(source, target)
  }
}

private enum UInt64Format: PairFormat {
  typealias Numbers = DoubleStage
  static var bitCount: Int { 64 }

  @inline(__always)
  static func expand(_ source: UnsafeRawPointer, _ table: UnsafePointer<Float>?, _ target: UnsafeMutablePointer<Double>)
  {
    kernels_uint64(source, target)
  }
}

private enum Int32Format: PairFormat {
  typealias Numbers = DoubleStage
  static var bitCount: Int { 32 }

  @inline(__always)
  static func expand(_ source: UnsafeRawPointer, _ table: UnsafePointer<Float>?, _ target: UnsafeMutablePointer<Double>)
  {
    kernels_int32(source, target)
  }
}

private enum UInt32Format: PairFormat {
  typealias Numbers = DoubleStage
  static var bitCount: Int { 32 }

  @inline(__always)
  static func expand(_ source: UnsafeRawPointer, _ table: UnsafePointer<Float>?, _ target: UnsafeMutablePointer<Double>)
  {
    kernels_uint32(source, target)
  }
}

private enum Int16Format: PairFormat {
  typealias Numbers = SingleStage
  static var bitCount: Int { 16 }

  @inline(__always)
  static func expand(_ source: UnsafeRawPointer, _ table: UnsafePointer<Float>?, _ target: UnsafeMutablePointer<Float>)
  {
    kernels_int16(source, target)
  }
}

private enum UInt16Format: PairFormat {
  typealias Numbers = SingleStage
  static var bitCount: Int { 16 }

  @inline(__always)
  static func expand(_ source: UnsafeRawPointer, _ table: UnsafePointer<Float>?, _ target: UnsafeMutablePointer<Float>)
  {
    kernels_uint16(source, target)
  }
}

private enum Int8Format: PairFormat {
  typealias Numbers = SingleStage
  static var bitCount: Int { 8 }

  @inline(__always)
  static func expand(_ source: UnsafeRawPointer, _ table: UnsafePointer<Float>?, _ target: UnsafeMutablePointer<Float>)
  {
    kernels_int8(source, target)
  }
}

private enum UInt8Format: PairFormat {
  typealias Numbers = SingleStage
  static var bitCount: Int { 8 }

  @inline(__always)
  static func expand(_ source: UnsafeRawPointer, _ table: UnsafePointer<Float>?, _ target: UnsafeMutablePointer<Float>)
  {
    kernels_uint8(source, target)
  }
}

private enum ByteCodeFormat: PairFormat {
  typealias Numbers = SingleStage
  static var bitCount: Int { 8 }

  @inline(__always)
  static func expand(_ source: UnsafeRawPointer, _ table: UnsafePointer<Float>?, _ target: UnsafeMutablePointer<Float>)
  {
    guard let table else { return }
    for i in 0..<16 {
      target[i] = table[Int(source.load(fromByteOffset: i, as: UInt8.self))]
    }
  }

  @inline(__always)
  static func expandGroups(
    _ source: UnsafeRawPointer, _ groups: Int, _ table: UnsafePointer<Float>?, _ target: UnsafeMutablePointer<Float>
  ) -> Int {
    guard let table, groups > 0 else { return 0 }
    return Int(kernels_expand_codes(source, UInt64(groups), table, target))
  }
}

private enum NibbleCodeFormat: PairFormat {
  typealias Numbers = SingleStage
  static var bitCount: Int { 4 }

  @inline(__always)
  static func expand(_ source: UnsafeRawPointer, _ table: UnsafePointer<Float>?, _ target: UnsafeMutablePointer<Float>)
  {
    guard let table else { return }
    for i in 0..<8 {
      let byte = Int(source.load(fromByteOffset: i, as: UInt8.self))
      target[2 &* i] = table[byte & 15]
      target[2 &* i &+ 1] = table[byte &>> 4]
    }
  }
}

// MARK: counts and folds

/// Counts bytes and elements that are not the same bits.
private enum UnequalCount {
  /// - Parameters:
  ///   - byteCount: whole elements.
  ///   - elementBytes: 1, 2, 4, 8 or 16.
  @inline(__always)
  static func add(
    _ left: UnsafeRawPointer, _ right: UnsafeRawPointer, _ byteCount: Int, _ elementBytes: Int,
    _ lanes: inout PairLanes
  ) {
    var done = 0
    while byteCount &- done >= 64, elementBytes <= 8 {
      // A lane of bytes counts to 255 at most.
      let end = done &+ min(128, (byteCount &- done) &>> 6) &* 64
      let count = end &- done
      var bytes = kernels_bytes(repeating: 0)
      var elements = kernels_bytes(repeating: 0)
      switch elementBytes {
      case 2:
        while done < end {
          bytes = kernels_add_equal8(left + done, right + done, bytes)
          elements = kernels_add_equal16(left + done, right + done, elements)
          done &+= 64
        }
        lanes.unequalElements &+= count &>> 1 &- Int(kernels_total16(elements))
      case 4:
        while done < end {
          bytes = kernels_add_equal8(left + done, right + done, bytes)
          elements = kernels_add_equal32(left + done, right + done, elements)
          done &+= 64
        }
        lanes.unequalElements &+= count &>> 2 &- Int(kernels_total32(elements))
      case 8:
        while done < end {
          bytes = kernels_add_equal8(left + done, right + done, bytes)
          elements = kernels_add_equal64(left + done, right + done, elements)
          done &+= 64
        }
        lanes.unequalElements &+= count &>> 3 &- Int(kernels_total64(elements))
      default:
        while done < end {
          bytes = kernels_add_equal8(left + done, right + done, bytes)
          done &+= 64
        }
        lanes.unequalElements &+= count &- Int(kernels_total8(bytes))
      }
      lanes.unequalBytes &+= count &- Int(kernels_total8(bytes))
    }
    singles(left + done, right + done, byteCount &- done, elementBytes, &lanes)
  }

  /// One by one: what fills no 64 bytes, and the rare elements of 16.
  @inline(__always)
  private static func singles(
    _ left: UnsafeRawPointer, _ right: UnsafeRawPointer, _ byteCount: Int, _ elementBytes: Int,
    _ lanes: inout PairLanes
  ) {
    var offset = 0
    while offset < byteCount {
      let end = min(byteCount, offset &+ max(1, elementBytes))
      let before = lanes.unequalBytes
      while offset < end {
        let a = left.load(fromByteOffset: offset, as: UInt8.self)
        if a != right.load(fromByteOffset: offset, as: UInt8.self) { lanes.unequalBytes &+= 1 }
        offset &+= 1
      }
      if lanes.unequalBytes > before { lanes.unequalElements &+= 1 }
    }
  }
}

// What the lanes come to, by hand and in a fixed order.

@inline(__always)
private func folded(_ lanes: Lanes32) -> Double {
  let sixteen = lanes.low + lanes.high
  let eight = sixteen.lowHalf + sixteen.highHalf
  let four = eight.lowHalf + eight.highHalf
  let two = four.lowHalf + four.highHalf
  return two.x + two.y
}
