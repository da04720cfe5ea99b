import Dumps
import Foundation
import TestSupport
import Testing

/// Files that PyTorch wrote hold what PyTorch says.
@Suite struct TorchFileTests {
  @Test("every tensor has the shape, bytes and numbers that torch gives", arguments: ["dtypes", "views", "structure"])
  func agreesWithTorch(kind: String) async throws {
    let corpus = try await Corpus(kind)
    let stems = try FileManager.default.contentsOfDirectory(atPath: corpus.path)
      .filter { $0.hasSuffix(".pt") }.map { String($0.dropLast(3)) }
    #expect(!stems.isEmpty)
    for stem in stems.sorted() {
      let dump = try DumpFileReader.read(path: corpus.file("\(stem).pt"))
      let expected = try ExpectedTensor.list(stem, in: corpus)
      #expect(dump.tensors.map(\.name) == expected.map(\.name), "\(stem)")
      #expect(dump.skipped.isEmpty, "\(stem)")
      for (i, (tensor, want)) in zip(dump.tensors, expected).enumerated() {
        #expect(tensor.dtype == want.dtype, "\(stem) \(want.name)")
        #expect(tensor.shape == want.shape, "\(stem) \(want.name)")
        #expect(tensor.strides == want.stride, "\(stem) \(want.name)")
        #expect(tensor.storageOffset == want.offset, "\(stem) \(want.name)")
        let reader = try TensorReader(tensor)
        #expect(reader.elementCount == want.numel)
        var bytes: [UInt8] = []
        try reader.read(0..<reader.elementCount, into: &bytes)
        #expect(bytes == (try corpus.contents("\(stem).\(i).raw")), "\(stem) \(want.name)")
        var values: [Double] = []
        try reader.readDoubles(0..<reader.elementCount, into: &values)
        #expect(
          patterns(values) == patterns(doubles(try corpus.contents("\(stem).\(i).f64"))), "\(stem) \(want.name)")
      }
    }
  }

  @Test func partsOfAViewAreThoseOfTheWhole() async throws {
    let corpus = try await Corpus("views")
    var random = SplitMix64(seed: 7)
    for tensor in try DumpFileReader.read(path: corpus.file("views.pt")).tensors {
      let reader = try TensorReader(tensor)
      var whole: [UInt8] = []
      try reader.read(0..<reader.elementCount, into: &whole)
      let size = tensor.dtype.byteCount
      var part: [UInt8] = []
      var values: [Double] = []
      for _ in 0..<12 {
        let a = Int.random(in: 0...reader.elementCount, using: &random)
        let b = min(reader.elementCount, a + Int.random(in: 0...3000, using: &random))
        try reader.read(a..<b, into: &part)
        #expect(part == Array(whole[(a * size)..<(b * size)]), "\(tensor.name) \(a)..<\(b)")
        try reader.readDoubles(a..<b, into: &values)
        #expect(values.count == (b - a) * tensor.dtype.valuesPerElement)
      }
    }
  }

  @Test func keepsPlainValuesAndKeyPaths() async throws {
    let corpus = try await Corpus("structure")
    let dump = try DumpFileReader.read(path: corpus.file("nested.pt"))
    #expect(dump.scalar("n") == .int(4))
    #expect(dump.scalar("f") == .double(0.5))
    #expect(dump.scalar("s") == .string("text"))
    #expect(dump.scalar("y") == .bool(true))
    #expect(dump.scalar("none") == Scalar.none)
    #expect(dump.scalar("a.c[1][1]") == .int(3))
    #expect(dump.scalar("size[1]") == .int(3))
    #expect(dump.scalar("device") == .string("cuda:1"))
    #expect(dump.scalar("dtype") == .string("torch.bfloat16"))
  }

  @Test("foreign objects are named, do nothing, and cost only themselves")
  func namesOpaqueValues() async throws {
    let corpus = try await Corpus("opaque")
    let dump = try DumpFileReader.read(path: corpus.file("opaque.pt"))
    let skipped = Dictionary(uniqueKeysWithValues: dump.skipped.map { ($0.name, $0.why) })
    for (name, what) in [
      "note": "Note", "sparse": "_rebuild_sparse_tensor", "meta": "_rebuild_meta_tensor_no_storage",
      "module": "torch.nn.modules.linear.Linear", "bytes": "bytes",
      "huge": "int (beyond 64 bits)", "enum": "numpy.int64", "quantized": "_rebuild_qtensor", "evil": "posix.system",
    ] {
      #expect(skipped[name]?.contains(what) == true, "\(name): \(skipped[name] ?? "not skipped")")
    }
    #expect(skipped.count == 9)
    #expect(dump.scalar("number") == .double(1))
    #expect(dump.skipped.allSatisfy { !$0.isDamaged })
    #expect(!FileManager.default.fileExists(atPath: corpus.file("owned")))

    #expect(dump.tensors.map(\.name) == ["first", "array", "default.k", "last"])
    for (i, tensor) in dump.tensors.enumerated() {
      var bytes: [UInt8] = []
      let reader = try TensorReader(tensor)
      try reader.read(0..<reader.elementCount, into: &bytes)
      #expect(bytes == (try corpus.contents("opaque.\(i).raw")))
    }
  }

  @Test("other formats are refused by name")
  func refusesOtherFormats() async throws {
    let corpus = try await Corpus("other")
    #expect(try DumpFileReader.read(path: corpus.file("stored.pt")).tensors.map(\.name) == ["a"])
    for (file, code, words) in [
      ("bare.pkl", DumpError.Code.unsupported, "bare pickle"),
      ("empty.pt", .truncated, "empty"), ("text.pt", .unsupported, "no dump file"),
      ("script.pt", .unsupported, "TorchScript"), ("deflated.pt", .unsupported, "compressed (method 8)"),
      ("big.pt", .unsupported, "byte order is big"), ("none.pt", .notFound, "No such file"),
      (".", .unsupported, "regular"),
    ] {
      let error = #expect(throws: DumpError.self, "\(file)") { try DumpFileReader.read(path: corpus.file(file)) }
      #expect(error?.code == code, "\(file): \(error?.description ?? "")")
      #expect(error?.message.contains(words) == true, "\(file): \(error?.description ?? "")")
      #expect(error?.file == corpus.file(file))
    }
  }
}
