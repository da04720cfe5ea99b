#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

// One pass over the elements of both sides as they stand in the file: what the measures need, and no copy.

extension Kernels {
  /// Adds a run of pairs to `lanes`.
  ///
  /// - Parameters:
  ///   - target, reference: `count` elements of `format` each, at any alignment.
  ///   - lane: lane of the first element, 0…7.
  ///   - areEqual: the caller knows that both sides are the same bytes; the sums are the same, and come sooner.
  public static func addPairs(
    _ format: LaneFormat, target: UnsafeRawPointer, reference: UnsafeRawPointer, count: Int, lane: Int,
    areEqual: Bool, to lanes: inout PairLanes
  ) {
    switch format {
    case .float64: add(Float64Element.self, target, reference, count, lane, areEqual, &lanes)
    case .float32: add(Float32Element.self, target, reference, count, lane, areEqual, &lanes)
    case .float16: add(Float16Element.self, target, reference, count, lane, areEqual, &lanes)
    case .bfloat16: add(BFloat16Element.self, target, reference, count, lane, areEqual, &lanes)
    }
  }

  /// Position of the first pair whose |a-b| is `difference`; nil where there is none.
  public static func firstPair(
    _ format: LaneFormat, target: UnsafeRawPointer, reference: UnsafeRawPointer, count: Int, difference: Double
  ) -> Int? {
    switch format {
    case .float64: first(Float64Element.self, target, reference, count, difference)
    case .float32: first(Float32Element.self, target, reference, count, difference)
    case .float16: first(Float16Element.self, target, reference, count, difference)
    case .bfloat16: first(BFloat16Element.self, target, reference, count, difference)
    }
  }

  /// How many of `count` elements are NaN or infinite.
  public static func nonfiniteCount(_ format: LaneFormat, _ source: UnsafeRawPointer, count: Int) -> Int {
    switch format {
    case .float64: nonfinite(Float64Element.self, source, count)
    case .float32: nonfinite(Float32Element.self, source, count)
    case .float16: nonfinite(Float16Element.self, source, count)
    case .bfloat16: nonfinite(BFloat16Element.self, source, count)
    }
  }

  /// True where both sides are the same bytes.
  public static func areEqual(_ left: UnsafeRawPointer, _ right: UnsafeRawPointer, byteCount: Int) -> Bool {
    memcmp(left, right, byteCount) == 0
  }

  /// How many bytes differ.
  public static func unequalBytes(_ left: UnsafeRawPointer, _ right: UnsafeRawPointer, byteCount: Int) -> Int {
    var total = 0
    var offset = 0
    while offset &+ 16 <= byteCount {
      // A lane counts to 255 at most.
      let end = min(byteCount, offset &+ 255 &* 16)
      var counts = SIMD16<UInt8>(repeating: 0)
      while offset &+ 16 <= end {
        let a = left.loadUnaligned(fromByteOffset: offset, as: SIMD16<UInt8>.self)
        let b = right.loadUnaligned(fromByteOffset: offset, as: SIMD16<UInt8>.self)
        // A lane that differs is all ones: -1.
        counts &-= unsafeBitCast(a .!= b, to: SIMD16<UInt8>.self)
        offset &+= 16
      }
      for lane in 0..<16 { total &+= Int(counts[lane]) }
    }
    while offset < byteCount {
      if left.load(fromByteOffset: offset, as: UInt8.self) != right.load(fromByteOffset: offset, as: UInt8.self) {
        total &+= 1
      }
      offset &+= 1
    }
    return total
  }
}

// MARK: one format

/// Four of the eight lanes.
private struct HalfLanes {
  var dot: SIMD4<Double>
  var target: SIMD4<Double>
  var reference: SIMD4<Double>
  var difference: SIMD4<Double>
  var maxDifference = SIMD4<Double>(repeating: 0)
  var maxReference = SIMD4<Double>(repeating: 0)

  @inline(__always)
  init(_ lanes: PairLanes, isSecond: Bool, isInterleaved: Bool) {
    func pick(_ all: SIMD8<Double>) -> SIMD4<Double> {
      if isInterleaved { return isSecond ? all.oddHalf : all.evenHalf }
      return isSecond ? all.highHalf : all.lowHalf
    }
    dot = pick(lanes.dot)
    target = pick(lanes.target)
    reference = pick(lanes.reference)
    difference = pick(lanes.difference)
  }

  @inline(__always)
  func store(to lanes: inout PairLanes, isSecond: Bool, isInterleaved: Bool) {
    func put(_ half: SIMD4<Double>, _ all: inout SIMD8<Double>) {
      switch (isInterleaved, isSecond) {
      case (true, true): all.oddHalf = half
      case (true, false): all.evenHalf = half
      case (false, true): all.highHalf = half
      case (false, false): all.lowHalf = half
      }
    }
    put(dot, &lanes.dot)
    put(target, &lanes.target)
    put(reference, &lanes.reference)
    put(difference, &lanes.difference)
    for lane in 0..<4 {
      if maxDifference[lane] > lanes.maxDifference { lanes.maxDifference = maxDifference[lane] }
      if maxReference[lane] > lanes.maxReference { lanes.maxReference = maxReference[lane] }
    }
  }
}

@inline(__always)
private func magnitude(_ values: SIMD4<Double>) -> SIMD4<Double> {
  let bits = unsafeBitCast(values, to: SIMD4<UInt64>.self) & SIMD4(repeating: 0x7FFF_FFFF_FFFF_FFFF)
  return unsafeBitCast(bits, to: SIMD4<Double>.self)
}

extension Kernels {
  /// Groups of eight that both sweeps visit before they move on: the second finds them in the nearest cache.
  private static let sweepGroups = 256

  @inline(__always)
  private static func add<Element: LaneElement>(
    _ element: Element.Type, _ target: UnsafeRawPointer, _ reference: UnsafeRawPointer, _ count: Int, _ lane: Int,
    _ areEqual: Bool, _ lanes: inout PairLanes
  ) {
    lanes.maxDifference = 0
    lanes.maxReference = 0
    let size = Element.byteCount
    let head = min(count, (8 &- lane) & 7)
    for index in 0..<head {
      addOne(element, target + index &* size, reference + index &* size, lane &+ index, &lanes)
    }
    let groups = (count &- head) &>> 3
    if areEqual, lanes.isOfEqualValues, lanes.difference == SIMD8(repeating: 0) {
      let before = lanes
      addEqual(element, reference + head &* size, groups, &lanes)
      // Equal bytes have no difference, but for NaN and infinity.
      if !PairLanes.folded(lanes.reference).isFinite {
        lanes = before
        sweep(element, target + head &* size, reference + head &* size, groups, &lanes)
      }
    } else {
      sweep(element, target + head &* size, reference + head &* size, groups, &lanes)
    }
    let tail = head &+ groups &* 8
    for index in tail..<count {
      addOne(element, target + index &* size, reference + index &* size, index &- tail, &lanes)
    }
  }

  @inline(__always)
  private static func addOne<Element: LaneElement>(
    _ element: Element.Type, _ target: UnsafeRawPointer, _ reference: UnsafeRawPointer, _ lane: Int,
    _ lanes: inout PairLanes
  ) {
    let a = Element.value(target)
    let b = Element.value(reference)
    let difference = a - b
    lanes.dot[lane] += a * b
    lanes.target[lane] += a * a
    lanes.reference[lane] += b * b
    lanes.difference[lane] += difference * difference
    if abs(difference) > lanes.maxDifference { lanes.maxDifference = abs(difference) }
    if abs(b) > lanes.maxReference { lanes.maxReference = abs(b) }
  }

  @inline(__always)
  private static func sweep<Element: LaneElement>(
    _ element: Element.Type, _ target: UnsafeRawPointer, _ reference: UnsafeRawPointer, _ groups: Int,
    _ lanes: inout PairLanes
  ) {
    var start = 0
    while start < groups {
      let end = min(groups, start &+ sweepGroups)
      sweepHalf(element, target, reference, start, end, &lanes, isSecond: false)
      sweepHalf(element, target, reference, start, end, &lanes, isSecond: true)
      start = end
    }
  }

  @inline(__always)
  private static func sweepHalf<Element: LaneElement>(
    _ element: Element.Type, _ target: UnsafeRawPointer, _ reference: UnsafeRawPointer, _ start: Int, _ end: Int,
    _ lanes: inout PairLanes, isSecond: Bool
  ) {
    var sums = HalfLanes(lanes, isSecond: isSecond, isInterleaved: Element.isInterleaved)
    var offset = start &* 8 &* Element.byteCount
    let limit = end &* 8 &* Element.byteCount
    while offset < limit {
      let a = Element.half(target + offset, isSecond: isSecond)
      let b = Element.half(reference + offset, isSecond: isSecond)
      let difference = a - b
      sums.dot += a * b
      sums.target += a * a
      sums.reference += b * b
      sums.difference += difference * difference
      let size = magnitude(difference)
      sums.maxDifference.replace(with: size, where: size .> sums.maxDifference)
      let sizeOfReference = magnitude(b)
      sums.maxReference.replace(with: sizeOfReference, where: sizeOfReference .> sums.maxReference)
      offset &+= 8 &* Element.byteCount
    }
    sums.store(to: &lanes, isSecond: isSecond, isInterleaved: Element.isInterleaved)
  }

  @inline(__always)
  private static func addEqual<Element: LaneElement>(
    _ element: Element.Type, _ source: UnsafeRawPointer, _ groups: Int, _ lanes: inout PairLanes
  ) {
    var first = HalfLanes(lanes, isSecond: false, isInterleaved: Element.isInterleaved)
    var second = HalfLanes(lanes, isSecond: true, isInterleaved: Element.isInterleaved)
    var offset = 0
    let limit = groups &* 8 &* Element.byteCount
    while offset < limit {
      let low = Element.half(source + offset, isSecond: false)
      let high = Element.half(source + offset, isSecond: true)
      first.reference += low * low
      second.reference += high * high
      let sizeOfLow = magnitude(low)
      let sizeOfHigh = magnitude(high)
      first.maxReference.replace(with: sizeOfLow, where: sizeOfLow .> first.maxReference)
      second.maxReference.replace(with: sizeOfHigh, where: sizeOfHigh .> second.maxReference)
      offset &+= 8 &* Element.byteCount
    }
    first.store(to: &lanes, isSecond: false, isInterleaved: Element.isInterleaved)
    second.store(to: &lanes, isSecond: true, isInterleaved: Element.isInterleaved)
    lanes.dot = lanes.reference
    lanes.target = lanes.reference
  }

  @inline(__always)
  private static func first<Element: LaneElement>(
    _ element: Element.Type, _ target: UnsafeRawPointer, _ reference: UnsafeRawPointer, _ count: Int,
    _ difference: Double
  ) -> Int? {
    for index in 0..<count {
      let offset = index &* Element.byteCount
      if abs(Element.value(target + offset) - Element.value(reference + offset)) == difference { return index }
    }
    return nil
  }

  @inline(__always)
  private static func nonfinite<Element: LaneElement>(
    _ element: Element.Type, _ source: UnsafeRawPointer, _ count: Int
  ) -> Int {
    var result = 0
    for index in 0..<count where !Element.value(source + index &* Element.byteCount).isFinite { result &+= 1 }
    return result
  }
}
