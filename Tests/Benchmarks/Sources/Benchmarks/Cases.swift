import Alignment
import Comparison
import Dumps
import TensorKernels

/// What is timed. Inputs stay alive as long as the list.
struct Cases {
  private(set) var list: [Benchmark] = []
  private var files: [RawFile] = []
  private static let shape = [512, 4096]

  /// - Parameter dumps: `.pt` files of torch.save, for the time that a header takes.
  init(dumps: [String]) throws {
    let count = Self.shape.reduce(1, *)
    var source = Values(seed: 1)
    let values = (0..<count).map { _ in source.next() }
    let noisy = values.map { $0 * (1 + source.next() / 512) }
    addCRC(encoded(values, as: .float32))
    for dtype in [DType.bfloat16, .float16, .float32, .float8E4M3FN] {
      try addPair(dtype, "differing", encoded(noisy, as: dtype), encoded(values, as: dtype))
      try addPair(dtype, "equal", encoded(values, as: dtype), encoded(values, as: dtype))
    }
    try addInference(values)
    addJudging()
    addHeaders(dumps)
  }

  private mutating func addCRC(_ bytes: [UInt8]) {
    list.append(
      Benchmark(name: "crc32", bytes: bytes.count) { blackHole(bytes.withUnsafeBytes { Kernels.crc32($0) }) })
  }

  /// Reads both sides in blocks and measures them, on one thread.
  private mutating func addPair(_ dtype: DType, _ kind: String, _ target: [UInt8], _ reference: [UInt8]) throws {
    let sides = [try RawFile(target), try RawFile(reference)]
    files += sides
    let left = sides[0].tensor(dtype, shape: Self.shape)
    let right = sides[1].tensor(dtype, shape: Self.shape)
    list.append(
      Benchmark(name: "read and measure \(dtype.rawValue), \(kind)", bytes: target.count + reference.count) {
        let (left, right) = (try TensorReader(left), try TensorReader(right))
        var (a, b): ([UInt8], [UInt8]) = ([], [])
        var accumulator = MeasureAccumulator(shape: Self.shape, valuesPerElement: dtype.valuesPerElement)
        let step = (256 << 10) / dtype.byteCount
        for start in stride(from: 0, to: left.elementCount, by: step) {
          let range = start..<min(start + step, left.elementCount)
          try left.read(range, into: &a)
          try right.read(range, into: &b)
          accumulator.add(dtype, target: a, reference: b)
        }
        blackHole(accumulator.measures)
      })
  }

  /// Eight ranks' columns against the whole.
  private mutating func addInference(_ values: [Float]) throws {
    let whole = try RawFile(encoded(values, as: .bfloat16))
    let width = Self.shape[1] / 8
    var parts: [RawFile] = []
    for rank in 0..<8 {
      var columns: [Float] = []
      for row in 0..<Self.shape[0] {
        let start = row * Self.shape[1] + rank * width
        columns += values[start..<(start + width)]
      }
      parts.append(try RawFile(encoded(columns, as: .bfloat16)))
    }
    files += [whole] + parts
    let reference = [whole.tensor(.bfloat16, shape: Self.shape)]
    let target = parts.map { $0.tensor(.bfloat16, shape: [Self.shape[0], width]) }
    list.append(
      Benchmark(name: "infer the layout of 8 ranks") {
        blackHole(try ShardPlanner(rule: .auto, place: "benchmark").plan(reference: reference, target: target))
      })
  }

  private mutating func addJudging() {
    let rows = (0..<10_000).map { number in
      JudgedRow(
        key: CaptureKey(layer: number / 10, stage: "Stage\(number % 10)", tensor: "hidden"), dtype: .bfloat16,
        measures: Measures(
          cos: 0.99999, maxAbs: 0.03, rel: 0.004, relL2: 0.004, alpha: 1, residual: 0.004, normRatio: 1,
          sglangRel: 1e-5, byteEqual: 0.6, nonfiniteReference: 0, nonfiniteTarget: 0, elementCount: 512 * 4096,
          worstToken: nil, tokenRelL2: Array(repeating: 0.004, count: 512), worstCoordinate: [0, 0],
          tokenNorms: Array(repeating: 64, count: 512)))
    }
    list.append(
      Benchmark(name: "judge a row of 512 tokens", units: rows.count) {
        blackHole(Judge(policy: .measured(NoiseFloors())).judge(rows))
      })
  }

  /// Opens a file, reads its zip directory and interprets its pickle; no tensor's bytes.
  private mutating func addHeaders(_ dumps: [String]) {
    for path in dumps {
      let name = path.split(separator: "/").last.map(String.init) ?? path
      list.append(
        Benchmark(name: "header of \(name)") {
          blackHole(try DumpFileReader.read(path: path, verifyChecksums: false))
        })
    }
  }
}

/// Keeps the optimiser from leaving out what makes `value`.
@inline(never)
func blackHole<Value>(_ value: Value) {}
