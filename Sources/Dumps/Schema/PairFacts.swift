/// What one pass over two tensors of one shape tells about how their values differ.
struct PairFacts {
  /// Numbers of each side, and how many of them differ. Two NaN are equal.
  var count = 0
  var unequal = 0
  var nonfinite = 0
  /// Which sides have NaN, or an infinity that the other side has not (both may mean one, as in the buffer of a mask).
  private(set) var nonfiniteSides = (reference: false, target: false)
  /// Numbers that differ by more than rounding to the coarser of the two types.
  var beyondRounding = 0
  /// True where both sides hold the same elements, bit by bit, in some order (by two 64-bit sums of hashes).
  var isSameMultiset = false
  private var dot = 0.0
  private var squares = (0.0, 0.0)
  private var difference = (least: Double.infinity, greatest: -Double.infinity)

  init(_ a: Tensor, _ b: Tensor, read: (Int) -> Void = { _ in }) throws(DumpError) {
    try a.checkRepetition()
    let (left, right) = (try TensorReader(a), try TensorReader(b))
    let epsilon = max(a.dtype.epsilon, b.dtype.epsilon)
    let step = TensorReader.blockBytes / max(a.dtype.byteCount, b.dtype.byteCount)
    var (leftBytes, rightBytes): ([UInt8], [UInt8]) = ([], [])
    var (x, y): ([Double], [Double]) = ([], [])
    var sums = (MultisetHash(), MultisetHash())
    let isOneType = a.dtype == b.dtype
    var start = 0
    while start < left.elementCount {
      let end = min(start + step, left.elementCount)
      try left.read(start..<end, into: &leftBytes)
      try right.read(start..<end, into: &rightBytes)
      if isOneType {
        sums.0.add(leftBytes, elementBytes: a.dtype.byteCount)
        sums.1.add(rightBytes, elementBytes: a.dtype.byteCount)
      }
      a.dtype.decode(leftBytes, into: &x)
      b.dtype.decode(rightBytes, into: &y)
      add(x, y, epsilon)
      read(leftBytes.count + rightBytes.count)
      start = end
    }
    isSameMultiset = isOneType && sums.0 == sums.1
  }

  private mutating func add(_ x: [Double], _ y: [Double], _ epsilon: Double) {
    count += x.count
    for (x, y) in zip(x, y) {
      if !x.isFinite, x != y { nonfiniteSides.reference = true }
      if !y.isFinite, x != y { nonfiniteSides.target = true }
      if x != y {
        if x.isNaN, y.isNaN {
          nonfinite += 1
          continue
        }
        unequal += 1
      }
      guard x.isFinite, y.isFinite else {
        nonfinite += 1
        if x != y { beyondRounding += 1 }
        continue
      }
      let delta = y - x
      if abs(delta) > epsilon * max(abs(x), abs(y)) { beyondRounding += 1 }
      difference = (min(difference.least, delta), max(difference.greatest, delta))
      dot += x * y
      squares = (squares.0 + x * x, squares.1 + y * y)
    }
  }

  /// Cosine of the finite numbers; NaN where a side is all zero.
  var cos: Double { dot / (squares.0.squareRoot() * squares.1.squareRoot()) }

  /// The factor that brings the second side nearest to the first one's multiple: b ≈ alpha · a.
  var alpha: Double { dot / squares.0 }

  var isTargetZero: Bool { squares.1 == 0 && squares.0 > 0 && nonfinite == 0 }

  /// What was added to every number, where that is the same for all of them.
  func offset(tolerance: Double) -> Double? {
    guard count > 1, nonfinite == 0, difference.greatest - difference.least <= tolerance else { return nil }
    return (difference.least + difference.greatest) / 2
  }
}

/// Two sums of hashes that do not depend on the order of the elements.
struct MultisetHash: Equatable {
  private var first: UInt64 = 0
  private var second: UInt64 = 0

  mutating func add(_ bytes: [UInt8], elementBytes: Int) {
    bytes.forEachElement(elementBytes) { bits in
      let hash = bits.mixed
      first &+= hash
      second &+= (hash ^ 0xD1B5_4A32_D192_ED03).mixed
    }
  }
}

extension UInt64 {
  /// Every bit of the result depends on every bit (the finaliser of SplitMix64).
  var mixed: UInt64 {
    var z = self &+ 0x9E37_79B9_7F4A_7C15
    z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
    z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
    return z ^ (z >> 31)
  }
}

extension [UInt8] {
  /// Calls `body` with each element's bits; those of 16 bytes are folded to 8.
  @inline(__always)
  func forEachElement(_ elementBytes: Int, _ body: (UInt64) -> Void) {
    withUnsafeBytes { bytes in
      var at = 0
      while at + elementBytes <= bytes.count {
        switch elementBytes {
        case 1: body(UInt64(bytes[at]))
        case 2: body(UInt64(bytes.loadUnaligned(fromByteOffset: at, as: UInt16.self)))
        case 4: body(UInt64(bytes.loadUnaligned(fromByteOffset: at, as: UInt32.self)))
        case 8: body(bytes.loadUnaligned(fromByteOffset: at, as: UInt64.self))
        default:
          body(
            bytes.loadUnaligned(fromByteOffset: at, as: UInt64.self).mixed
              &+ bytes.loadUnaligned(fromByteOffset: at + 8, as: UInt64.self))
        }
        at += elementBytes
      }
    }
  }
}

extension DType {
  /// `values` becomes the numbers of `bytes`; its memory is used again.
  func decode(_ bytes: [UInt8], into values: inout [Double]) {
    let count = bytes.count / byteCount * valuesPerElement
    if values.count > count {
      values.removeLast(values.count - count)
    } else if values.count < count {
      values.append(contentsOf: repeatElement(0, count: count - values.count))
    }
    bytes.withUnsafeBytes { bytes in values.withUnsafeMutableBufferPointer { decode(bytes, into: $0) } }
  }
}
