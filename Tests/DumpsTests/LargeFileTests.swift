import Dumps
import Foundation
import TestSupport
import Testing

/// Files beyond 4 GiB, which torch.save wrote with holes where the numbers would stand.
@Suite struct LargeFileTests {
  private static let program = """
    import sys
    import torch

    path = sys.argv[1]
    last = torch.arange(32, dtype=torch.float32).reshape(4, 8)
    with torch.serialization.skip_data():
        torch.save({"first": torch.empty(4_400_000_000, dtype=torch.uint8), "last": last}, path)
    reader = torch._C.PyTorchFileReader(path)
    with open(path, "r+b") as file:
        # The end of the one storage, and all of the other.
        file.seek(reader.get_record_offset("data/0") + 4_400_000_000 - 3)
        file.write(bytes([7, 8, 9]))
        file.seek(reader.get_record_offset("data/1"))
        file.write(last.numpy().tobytes())
    """

  @Test("sizes and places beyond 32 bits are read from the zip64 fields")
  func beyondFourGigabytes() async throws {
    try await Scratch.with { scratch in
      let path = scratch.path("large.pt")
      try await runPython(Self.program, [path])
      let dump = try DumpFileReader.read(path: path)
      try #require(dump.tensors.map(\.name) == ["first", "last"])
      #expect(dump.skipped.isEmpty)
      #expect(dump.tensors[0].shape == [4_400_000_000])
      #expect(dump.tensors[1].storage.offset > 1 << 32)

      var bytes: [UInt8] = []
      try TensorReader(dump.tensors[0]).read(4_399_999_996..<4_400_000_000, into: &bytes)
      #expect(bytes == [0, 7, 8, 9])
      var values: [Double] = []
      try TensorReader(dump.tensors[1]).readDoubles(0..<32, into: &values)
      #expect(values == (0..<32).map { Double($0) })
    }
  }
}
