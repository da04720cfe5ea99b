import Foundation
import TestSupport
import Testing

/// Pickles made to cost memory: reading one takes no more than 64 MiB and sixteen times its size, whatever it holds.
@Suite struct PickleMemoryTests {
  /// Reads each file of a directory in a process of its own and says what that took. It keeps small itself: a new
  /// process counts what the one before it held.
  private static let measuring = """
    import json, os, sys
    tool, root = sys.argv[1:]
    base, results = None, []
    for name in sorted(os.listdir(root)):
        path = os.path.join(root, name)
        child = os.posix_spawn(tool, [tool, "inspect", path], dict(os.environ), file_actions=[
            (os.POSIX_SPAWN_OPEN, 1, "/dev/null", os.O_WRONLY, 0),
            (os.POSIX_SPAWN_OPEN, 2, root + ".err", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)])
        _, status, usage = os.wait4(child, 0)
        base = base or usage.ru_maxrss
        with open(root + ".err", errors="replace") as file: error = file.read(2000)
        results.append({"title": name, "bytes": os.path.getsize(path), "growth": (usage.ru_maxrss - base) << 10,
                        "code": os.waitstatus_to_exitcode(status), "error": error})
    print(json.dumps(results))
    """

  /// Writes each shape in an honest zip.
  private static let writing = """
    import struct, sys, zipfile
    root, size = sys.argv[1], int(sys.argv[2])
    def text(s):
        s = s if isinstance(s, bytes) else s.encode()
        return b"X" + struct.pack("<I", len(s)) + s
    def put(n): return b"r" + struct.pack("<I", n)
    def get(n): return b"j" + struct.pack("<I", n)
    def name(module, name): return b"c" + module.encode() + b"\\n" + name.encode() + b"\\n"
    def fill(unit, start=b"(", end=b"1N."):
        n = (size - len(start) - len(end)) // len(unit)
        return start + unit * n + end
    def each(unit, start=b"(", end=b"1N."):
        parts, length, n = [start], len(start) + len(end), 0
        while length < size:
            parts.append(unit(n)); length += len(parts[-1]); n += 1
        return b"".join(parts) + end
    ones = b"(" + b"K\\x01" * 64 + b"t"
    storage = (b"(" + text("storage") + name("torch", "FloatStorage") + text("0") + text("cpu") + b"K\\x01" + b"tQ")
    tensor = (name("torch._utils", "_rebuild_tensor_v2") + b"q\\x01(" + storage + b"K\\x00" + ones + ones
              + b"\\x89Nt" + b"q\\x02R")
    placement = name("torch.distributed.tensor.placement_types", "Shard") + b")R}" + text("dim") + b"K\\x00sb"
    mesh = (name("torch.distributed.device_mesh", "DeviceMesh") + b")R}" + text("_mesh_dim_names")
            + b"(" + text("n" * 60) + b"tsb")
    spec = (name("torch.distributed.tensor._dtensor_spec", "DTensorSpec") + b")R}" + text("mesh") + mesh + b"s"
            + text("placements") + b"(" + placement + b"tsb")
    dtensor = (name("torch._tensor", "_rebuild_from_type_v2") + b"q\\x03("
               + name("torch._utils", "_rebuild_tensor_v2") + name("torch.distributed.tensor", "DTensor") + b"("
               + storage + b"K\\x00" + ones + ones + b"\\x89Nt" + b"}" + text("_local_tensor") + tensor + b"s"
               + text("_spec") + spec + b"st" + b"q\\x04R")
    array = name("numpy._core.numeric", "_frombuffer") + b"q\\x01(C\\x04aaaa" + (
        name("numpy", "dtype") + b"(" + text("f4") + b"\\x89\\x88tR") + ones + text("C") + b"tq\\x02"
    def holds(value, count=0): return fill(b"h\\x09", value + b"q\\x090](", b"e.")
    shapes = {
        "references on the stack": fill(b"h\\x00", b"Nq\\x00("),
        "one long tuple": fill(b"N", b"(", b"t0N."),
        "appends of one object": fill(b"(" + b"h\\x00" * 50 + b"e", b"]q\\x00", b"0N."),
        "appends one by one": fill(b"Na", b"]", b"0N."),
        "empty lists": fill(b"]"),
        "empty dictionaries": fill(b"}"),
        "lists of one": fill(b"]Na"),
        "dictionaries of one": fill(b"}NNs"),
        "tuples in tuples": fill(b"\\x85", b")", b"0N."),
        "dictionaries in dictionaries": fill(b"}N", b"", b"") + b"N" + b"s" * (size // 2 - 1) + b"0N.",
        "entries of one dictionary": fill(b"NNs", b"}", b"0N."),
        "marks": fill(b"(", b"", b""),
        "memo, one after the other": fill(b"\\x94", b"N", b"0N."),
        "memo, scattered": each(lambda n: put((n * 2654435761) % (1 << 32)), b"N", b"0N."),
        "memo, upwards from a gap": each(lambda n: put(n + 5), b"N", b"0N."),
        "short texts": each(lambda n: b"\\x8c\\x10%016d" % n),
        "bytes": fill(b"C\\x00"),
        "texts as bytes": each(lambda n: b"U\\x10%016d" % n),
        "no UTF-8": b"(" + b"X" + struct.pack("<I", size) + b"\\xff" * size + b"1N.",
        "names of globals": each(lambda n: b"c%x\\n\\n" % n),
        "long names of globals": each(lambda n: b"c%x" % n + b"x" * 4000 + b"\\n\\n"),
        "storages": fill(b"h\\x00Q", storage[:-1] + b"q\\x000("),
        "tensors of 64 dimensions": fill(b"h\\x01h\\x02R", tensor + b"0("),
        "tensors and nothing else": fill(b"h\\x09h\\x08R", tensor + b"0" + name("torch._utils", "_rebuild_tensor_v2")
            + b"q\\x090(" + storage + b"K\\x00))\\x89Ntq\\x080("),
        "distributed tensors": fill(b"h\\x03h\\x04R", dtensor + b"0("),
        "arrays": fill(b"h\\x01h\\x02R", array + b"00("),
        "devices": fill(b"h\\x00h\\x01R", name("torch", "device") + b"q\\x00(" + text("c" * 60) + b"K\\x01tq\\x0100("),
        "objects": fill(b"h\\x00)R", name("torch.distributed.x", "Shard") + b"q\\x000("),
        "encoded bytes": each(lambda n: b"h\\x00(X\\x02\\x00\\x00\\x00abh\\x01tR",
            name("_codecs", "encode") + b"q\\x000" + text("latin1") + b"q\\x010("),
        "one list as many dictionaries": fill(b"h\\x00h\\x01R", name("collections", "OrderedDict") + b"q\\x000(("
            + b"NN\\x86" * 1000 + b"l\\x85q\\x010("),
        "one number under many names": holds(b"N"),
        "one tensor under many names": holds(name("torch._utils", "_rebuild_tensor_v2") + b"(" + storage
            + b"K\\x00))\\x89NtR"),
        "one opaque value of a long name": holds(name("a", "b" * 4000) + b")R"),
        "one empty list in many places": holds(b"]"),
        "one list in many places": holds(b"](" + b"N" * 1000 + b"e"),
        "a long name": b"}" + text("n" * (size // 2)) + fill(b"N", b"(", b"ls."),
        "names in names": b"".join(b"}" + text("n" * 4000) for _ in range(90)) + b"(" + b"N" * (size // 2) + b"l"
            + b"s" * 90 + b".",
        "keys that are long globals": fill(b"h\\x00N", name("a", "b" * 4000) + b"q\\x000}(", b"u."),
        "dictionaries in many places": holds(b"}(" + b"".join(text("k%d" % n) + b"N" for n in range(1000)) + b"u"),
    }
    for index, (title, pickle) in enumerate({"nothing": b"N.", **shapes}.items()):
        with zipfile.ZipFile(f"{root}/{index:03} {title}.pt", "w", zipfile.ZIP_STORED) as file:
            file.writestr("x/data.pkl", b"\\x80\\x02" + pickle)
            file.writestr("x/data/0", b"\\0\\0\\0\\0")
    """

  private struct Outcome: Decodable {
    var title: String
    var bytes: Int
    var growth: Int
    var code: Int
    var error: String
  }

  @Test(.timeLimit(.minutes(10)), arguments: [1 << 20, 4 << 20]) func everyShapeKeepsTheBound(size: Int) async throws {
    try await Scratch.with { scratch in
      let folder = try scratch.directory("shapes")
      try await runPython(Self.writing, [folder, "\(size)"])
      let run = try await runPython(Self.measuring, [RollcallBinary.path, folder])
      let outcomes = try JSONDecoder().decode([Outcome].self, from: Data(run.output.utf8))
      #expect(outcomes.count > 30)
      for outcome in outcomes {
        let bound = 64 << 20 + 16 * outcome.bytes
        #expect(outcome.growth <= bound, "\(outcome.title): \(outcome.growth >> 20) MiB for \(outcome.bytes) bytes")
        // Read, or refused in words: never killed.
        #expect(outcome.code == 0 || outcome.code == 65, "\(outcome.title): \(outcome.error.prefix(300))")
      }
      #expect(outcomes.contains { $0.error.contains("more memory than 64 MiB and 16 times its size") })
    }
  }

  @Test func aStateDictionaryOfHundredThousandTensorsIsRead() async throws {
    try await Scratch.with { scratch in
      try await runPython(
        """
        import torch
        one = torch.zeros(4, 4, dtype=torch.bfloat16)
        torch.save({f"model.layers.{i // 1000}.mlp.experts.{i % 1000}.up_proj.weight": one.clone()
                    for i in range(100_000)}, "large.pt")
        """, directory: scratch.path)
      let rollcall = RollcallBinary(store: scratch.path("store"), directory: scratch.path)
      let outcome = try await rollcall.run(["inspect", "large.pt", "--json"])
      #expect(outcome.status == 0, "\(outcome.errorOutput)")
      struct Tree: Decodable { var tensors: [Name] }
      struct Name: Decodable { var name: String }
      let tree = try JSONDecoder().decode(Tree.self, from: Data(outcome.output.utf8))
      #expect(tree.tensors.count == 100_000)
      #expect(Set(tree.tensors.map(\.name)).count == 100_000)
    }
  }
}
