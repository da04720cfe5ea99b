import Foundation
import TensorKernels
import TensorLanes
import TestSupport
import Testing

/// The sums against PyTorch's in double precision.
@Suite("Sums and PyTorch")
struct TorchTests {
  private static let types: [(format: LaneFormat, name: String)] = [
    (.float64, "float64"), (.float32, "float32"), (.float16, "float16"), (.bfloat16, "bfloat16"), (.int64, "int64"),
    (.int32, "int32"), (.int16, "int16"), (.uint16, "uint16"),
  ]

  @Test("agree to 1e-12")
  func torch() async throws {
    let code = """
      import json, sys, torch
      out = []
      for name, a, b in json.load(sys.stdin):
          a, b = (torch.frombuffer(bytearray(x), dtype=getattr(torch, name)) for x in (a, b))
          unequal = int((a != b).sum())
          a, b = a.to(torch.float64), b.to(torch.float64)
          d = a - b
          scale = [(a * b).abs().sum(), a @ a, b @ b, d @ d, d.abs().sum()]
          out.append([float(x) for x in [a @ b, a @ a, b @ b, d @ d, d.abs().sum(), d.abs().max(), b.abs().max(),
                                         unequal, int(d.abs().argmax())] + scale])
      print(json.dumps(out))
      """
    let all = Self.types.map { Samples($0.format, .tame, count: 4096 + 37, seed: 12) }
    let input = zip(Self.types, all).map { type, samples in
      "[\"\(type.name)\", \(samples.target), \(samples.reference)]"
    }
    let output = try await runPython(code, input: "[\(input.joined(separator: ","))]").output
    let theirs = try JSONDecoder().decode([[Double]].self, from: Data(output.utf8))
    #expect(theirs.count == all.count)
    for (samples, figures) in zip(all, theirs) {
      for set in InstructionSet.available {
        var lanes = PairLanes()
        samples.target.withUnsafeBytes { a in
          samples.reference.withUnsafeBytes { b in
            guard let a = a.baseAddress, let b = b.baseAddress else { return }
            Kernels.addPairs(
              samples.format,
              PairRun(target: a, reference: b, count: 4096 + 37, elementBytes: samples.format.bitCount / 8),
              to: &lanes, on: set)
          }
        }
        let sums = lanes.sums
        let ours = [sums.dot, sums.target, sums.reference, sums.difference, sums.magnitude]
        for index in 0..<5 {
          #expect(abs(ours[index] - figures[index]) <= 1e-12 * figures[9 + index], "\(samples.format) \(set) \(index)")
        }
        #expect(lanes.largestDifference == figures[5] && lanes.largestReference == figures[6])
        #expect(lanes.unequalElements == Int(figures[7]) && lanes.largestDifferenceIndex == Int(figures[8]))
      }
    }
  }

  @Test("CRC-32 of bytes, of pieces, and of a concatenation are zlib's")
  func crc32() async throws {
    let code = """
      import json, random, sys, zlib
      random.seed(4)
      data = bytes(random.randrange(256) for _ in range(70000))
      sys.stdout.write(json.dumps([list(data), [[n, zlib.crc32(data[:n]), zlib.crc32(data[n:])]
                                   for n in [0, 1, 2, 7, 255, 4096, 65537, 69999, 70000]], zlib.crc32(data)]))
      """
    struct Answer: Decodable {
      var data: [UInt8]
      var cuts: [[Int]]
      var whole: UInt32
      init(from decoder: any Decoder) throws {
        var list = try decoder.unkeyedContainer()
        data = try list.decode([UInt8].self)
        cuts = try list.decode([[Int]].self)
        whole = try list.decode(UInt32.self)
      }
    }
    let answer = try JSONDecoder().decode(Answer.self, from: Data(try await runPython(code).output.utf8))
    func crc(_ bytes: ArraySlice<UInt8>, continuing crc: UInt32 = 0) -> UInt32 {
      bytes.withUnsafeBytes { Kernels.crc32($0, continuing: crc) }
    }
    #expect(crc(answer.data[...]) == answer.whole)
    for cut in answer.cuts {
      let (first, second) = (answer.data[..<cut[0]], answer.data[cut[0]...])
      #expect(crc(first) == UInt32(cut[1]) && crc(second) == UInt32(cut[2]))
      #expect(crc(second, continuing: crc(first)) == answer.whole)
      #expect(
        Kernels.crc32Combined(first: crc(first), second: crc(second), secondByteCount: second.count) == answer.whole)
    }
  }
}
