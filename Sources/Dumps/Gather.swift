import Glibc

/// Reads elements that do not lie behind one another, in the order in which they stand in the file.
///
/// A logical range is cut into boxes; in each box the dimensions are sorted by stride, and what lies close together
/// is read as one span of at most ``TensorReader/blockBytes`` and picked apart in memory. Extra memory: one span.
struct Gather {
  let file: FileHandle
  let elementBytes: Int
  /// Where the view's first element stands in the file.
  let firstByte: Int
  /// Room for the whole range.
  let target: UnsafeMutableRawBufferPointer

  private var window: [UInt8] = []

  /// Gaps up to this many bytes are read along: a call costs about as much as copying them.
  private static let smallGap = 4 << 10

  init(file: FileHandle, elementBytes: Int, firstByte: Int, target: UnsafeMutableRawBufferPointer) {
    self.file = file
    self.elementBytes = elementBytes
    self.firstByte = firstByte
    self.target = target
  }

  /// One dimension of a box, in elements.
  private struct Axis {
    var count: Int
    var source: Int
    var target: Int
  }

  mutating func read(_ range: Range<Int>, of view: StridedView) throws(DumpError) {
    try cut(range, of: view.dimensions[...], source: 0, target: 0)
  }

  /// Splits a row-major range into a partial first row, whole rows, and a partial last row.
  private mutating func cut(
    _ range: Range<Int>, of dimensions: ArraySlice<StridedView.Dimension>, source: Int, target: Int
  ) throws(DumpError) {
    guard !range.isEmpty else { return }
    guard let outer = dimensions.first else { return try readBox([], source: source, target: target) }
    let inner = dimensions.dropFirst()
    let rowCount = inner.reduce(1) { $0 * $1.count }
    var row = range.lowerBound / rowCount
    var target = target
    var next = range.lowerBound
    while next < range.upperBound {
      let rowStart = row * rowCount
      let base = source + row * outer.stride
      let wholeRows = (range.upperBound - rowStart) / rowCount
      if next == rowStart, wholeRows > 0 {
        var axes = [Axis(count: wholeRows, source: outer.stride, target: rowCount)]
        var step = rowCount
        for dimension in inner {
          step /= dimension.count
          axes.append(Axis(count: dimension.count, source: dimension.stride, target: step))
        }
        try readBox(axes, source: base, target: target)
        row += wholeRows
        target += wholeRows * rowCount
        next += wholeRows * rowCount
      } else {
        let end = min(rowStart + rowCount, range.upperBound)
        try cut((next - rowStart)..<(end - rowStart), of: inner, source: base, target: target)
        target += end - next
        next = end
        row += 1
      }
    }
  }

  private mutating func readBox(_ axes: [Axis], source: Int, target: Int) throws(DumpError) {
    var sorted: [Axis] = []
    for axis in axes.sorted(by: { $0.source > $1.source }) where axis.count > 1 {
      if let outer = sorted.last, outer.source == axis.source * axis.count, outer.target == axis.target * axis.count {
        sorted[sorted.count - 1] = Axis(count: outer.count * axis.count, source: axis.source, target: axis.target)
      } else {
        sorted.append(axis)
      }
    }
    try read(sorted[...], source: source, target: target)
  }

  /// Axes by falling source stride.
  private mutating func read(_ axes: ArraySlice<Axis>, source: Int, target: Int) throws(DumpError) {
    guard let outer = axes.first else { return try readSpan([], span: 1, source: source, target: target) }
    let inner = axes.dropFirst()
    if inner.isEmpty, outer.source == 1, outer.target == 1 {
      // A run that is contiguous on both sides needs no window.
      let bytes = UnsafeMutableRawBufferPointer(
        rebasing: self.target[(target * elementBytes)..<((target + outer.count) * elementBytes)])
      return try file.read(into: bytes, at: firstByte + source * elementBytes)
    }
    // Elements from the first to the last of one step of the outer axis.
    let innerSpan = inner.reduce(1) { $0 + ($1.count - 1) * $1.source }
    let budget = TensorReader.blockBytes / elementBytes
    var chunk = 1
    if innerSpan <= budget, (outer.source - innerSpan) * elementBytes <= Self.smallGap {
      chunk = outer.source == 0 ? outer.count : min(outer.count, (budget - innerSpan) / outer.source + 1)
    }
    var done = 0
    while done < outer.count {
      let part = min(chunk, outer.count - done)
      let partSource = source + done * outer.source
      let partTarget = target + done * outer.target
      if chunk == 1 {
        try read(inner, source: partSource, target: partTarget)
      } else {
        var axes = Array(axes)
        axes[0].count = part
        try readSpan(axes, span: innerSpan + (part - 1) * outer.source, source: partSource, target: partTarget)
      }
      done += part
    }
  }

  /// Reads `span` elements from `source` and picks out those that the axes name.
  private mutating func readSpan(_ axes: [Axis], span: Int, source: Int, target: Int) throws(DumpError) {
    let byteCount = span * elementBytes
    if window.count < byteCount { window.append(contentsOf: repeatElement(0, count: byteCount - window.count)) }
    var failure: DumpError?
    window.withUnsafeMutableBytes { buffer in
      let bytes = UnsafeMutableRawBufferPointer(rebasing: buffer[..<byteCount])
      do throws(DumpError) {
        try file.read(into: bytes, at: firstByte + source * elementBytes)
      } catch {
        failure = error
        return
      }
      guard let from = bytes.baseAddress, let base = self.target.baseAddress else { return }
      let to = base + target * elementBytes
      switch elementBytes {
      case 1: Self.pick(UInt8.self, axes[...], from, to)
      case 2: Self.pick(UInt16.self, axes[...], from, to)
      case 4: Self.pick(UInt32.self, axes[...], from, to)
      case 8: Self.pick(UInt64.self, axes[...], from, to)
      default: Self.pick(SIMD2<UInt64>.self, axes[...], from, to)
      }
    }
    if let failure { throw failure }
  }

  @inline(__always)
  private static func pick<Element: BitwiseCopyable>(
    _ type: Element.Type, _ axes: ArraySlice<Axis>, _ source: UnsafeRawPointer, _ target: UnsafeMutableRawPointer
  ) {
    let size = MemoryLayout<Element>.size
    guard let outer = axes.first else {
      memcpy(target, source, size)
      return
    }
    let inner = axes.dropFirst()
    if inner.isEmpty {
      for i in 0..<outer.count {
        let element = source.loadUnaligned(fromByteOffset: i &* outer.source &* size, as: type)
        target.storeBytes(of: element, toByteOffset: i &* outer.target &* size, as: type)
      }
    } else {
      for i in 0..<outer.count {
        pickInner(type, inner, source + i * outer.source * size, target + i * outer.target * size)
      }
    }
  }

  private static func pickInner<Element: BitwiseCopyable>(
    _ type: Element.Type, _ axes: ArraySlice<Axis>, _ source: UnsafeRawPointer, _ target: UnsafeMutableRawPointer
  ) {
    pick(type, axes, source, target)
  }
}
