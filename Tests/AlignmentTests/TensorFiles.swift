import Dumps
import Foundation
import TestSupport

/// Tensors in files of their own, removed with the last reference.
final class TensorFiles {
  let root = FileManager.default.temporaryDirectory.appending(path: "rollcall-alignment-\(UUID().uuidString)")
  private var count = 0

  init() throws { try FileManager.default.createDirectory(at: root, withIntermediateDirectories: true) }
  deinit { try? FileManager.default.removeItem(at: root) }

  func tensor(_ shape: [Int], _ values: [Float]) throws -> Tensor {
    try write(shape, .float32, values.withUnsafeBytes { Data($0) })
  }

  func tensor(_ values: Grid, _ dtype: DType = .bfloat16) throws -> Tensor {
    guard dtype == .bfloat16 else { return try tensor(values.shape, values.values.map(Float.init)) }
    let words = values.values.map { Grid.bfloat16(Float($0)) }
    return try write(values.shape, .bfloat16, words.withUnsafeBytes { Data($0) })
  }

  private func write(_ shape: [Int], _ dtype: DType, _ data: Data) throws -> Tensor {
    count += 1
    let path = root.appending(path: "\(count)")
    try data.write(to: path)
    var strides = Array(repeating: 1, count: shape.count)
    for axis in shape.indices.dropLast().reversed() { strides[axis] = strides[axis + 1] * shape[axis + 1] }
    return Tensor(
      name: "hidden", dtype: dtype, shape: shape, strides: strides, storageOffset: 0,
      storage: StorageRegion(path: path.path, offset: 0, byteCount: data.count))
  }
}

/// A tensor in memory, to be cut up as an engine would.
struct Grid: Equatable {
  var shape: [Int]
  var values: [Double]

  var count: Int { shape.reduce(1, *) }

  static func random(_ shape: [Int], _ generator: inout SplitMix64) -> Grid {
    Grid(shape: shape, values: (0..<shape.reduce(1, *)).map { _ in generator.normal() })
  }

  /// Indices of one dimension, in the order given.
  func picked(_ axis: Int, _ indices: some Sequence<Int>) -> Grid {
    let inner = shape[(axis + 1)...].reduce(1, *)
    let outer = shape[..<axis].reduce(1, *)
    let indices = Array(indices)
    var result = Grid(shape: shape, values: [])
    result.shape[axis] = indices.count
    result.values.reserveCapacity(outer * indices.count * inner)
    for block in 0..<outer {
      for index in indices {
        let start = (block * shape[axis] + index) * inner
        result.values += values[start..<(start + inner)]
      }
    }
    return result
  }

  /// Part `index` of `count` equal parts.
  func part(_ axis: Int, _ index: Int, of count: Int) -> Grid {
    let size = shape[axis] / count
    return picked(axis, (index * size)..<((index + 1) * size))
  }

  static func joined(_ parts: [Grid], axis: Int) -> Grid {
    var result = parts[0]
    let outer = result.shape[..<axis].reduce(1, *)
    result.shape[axis] = parts.reduce(0) { $0 + $1.shape[axis] }
    result.values = []
    for block in 0..<outer {
      for part in parts {
        let width = part.count / outer
        result.values += part.values[(block * width)..<((block + 1) * width)]
      }
    }
    return result
  }

  /// With relative noise on every value, as another order of additions gives.
  func noisy(_ size: Double, _ generator: inout SplitMix64) -> Grid {
    var result = self
    for index in values.indices { result.values[index] *= 1 + size * generator.normal() }
    return result
  }

  func scaled(_ factor: Double) -> Grid {
    var result = self
    for index in values.indices { result.values[index] *= factor }
    return result
  }

  /// `count` terms of which this is the sum.
  func terms(_ count: Int, _ generator: inout SplitMix64) -> [Grid] {
    var rest = self
    var result: [Grid] = []
    for _ in 1..<count {
      let term = Grid.random(shape, &generator)
      for index in rest.values.indices { rest.values[index] -= term.values[index] }
      result.append(term)
    }
    return result + [rest]
  }

  /// Round to nearest, ties to even.
  static func bfloat16(_ value: Float) -> UInt16 {
    let bits = value.bitPattern
    return UInt16(truncatingIfNeeded: (bits &+ 0x7FFF &+ (bits >> 16 & 1)) >> 16)
  }
}

extension SplitMix64 {
  /// Roughly normal, of unit variance: four uniform numbers of 16 bits.
  mutating func normal() -> Double {
    let bits = next()
    let sum = (bits & 0xFFFF) + (bits >> 16 & 0xFFFF) + (bits >> 32 & 0xFFFF) + (bits >> 48)
    return (Double(sum) / 65_536 - 2) * 1.732
  }
}
