import Foundation
import TestSupport
import Testing

/// `inspect` and `schema` as a person uses them: trees, whole directories, damage, exit codes.
@Suite struct InspectTests {
  @Test("a directory is shown file by file, and damage costs only itself and the exit code")
  func directory() async throws {
    try await Scratch.with { scratch in
      try await runPython(
        """
        import sys, torch
        from safetensors.torch import save_file
        d = sys.argv[1]
        x = torch.arange(6, dtype=torch.float32).reshape(2, 3)
        torch.save({"a": {"b": x.t(), "c": [x, (x + 1, 3)]}, "n": 4, "s": "text", "raw": b"12"}, d + "/one.pt")
        save_file({"model.layers.0.q.weight": x, "model.layers.0.k.weight": x + 1, "model.norm.weight": x + 2},
                  d + "/two.safetensors")
        open(d + "/notes.txt", "w").write("nothing")
        """, [scratch.directory("dumps")])
      let rollcall = RollcallBinary(store: scratch.path("store"), directory: scratch.path)
      let text = try await rollcall("inspect", "dumps")
      #expect(text.status == 0, "\(text.errorOutput)")
      #expect(
        text.output == """
          one.pt
          ├─ a
          │  ├─ b  float32 [3, 2]  stride [1, 3]
          │  └─ c
          │     ├─ [0]  float32 [2, 3]
          │     └─ [1]
          │        ├─ [0]  float32 [2, 3]
          │        └─ [1]  = 3
          ├─ n  = 4
          ├─ s  = "text"
          └─ raw  opaque bytes (2 of them)
          two.safetensors
          └─ model
             ├─ layers.0
             │  ├─ k.weight  float32 [2, 3]
             │  └─ q.weight  float32 [2, 3]
             └─ norm.weight  float32 [2, 3]
          no dumps by their names: notes.txt

          """)
      let json = try await rollcall("inspect", "dumps", "--stats", "--json").json()
      #expect(json["files"] as? [String] == ["one.pt", "two.safetensors"])
      let tensors = try #require(json["tensors"] as? [[String: Any]])
      #expect(tensors.count == 6)
      #expect(tensors.first?["file"] as? String == "one.pt")
      #expect(tensors.first?["sum"] as? Double == 15)

      try scratch.write("dumps/cut.safetensors", Array("\u{20}\0\0\0\0\0\0\0{".utf8))
      let damaged = try await rollcall("inspect", "dumps", "--json")
      #expect(damaged.status == 65)
      #expect(damaged.errorOutput.contains("cut.safetensors"))
      let listing = try damaged.json()
      #expect((listing["tensors"] as? [Any])?.count == 6)
      #expect((listing["unreadable"] as? [[String: Any]])?.first?["file"] as? String == "cut.safetensors")
      #expect(try await rollcall("inspect", scratch.directory("empty")).status == 65)
    }
  }

  @Test("a sum over many numbers keeps all its digits")
  func sumsExactly() async throws {
    try await Scratch.with { scratch in
      let oracle = try await runPython(
        """
        import math, sys, torch
        torch.manual_seed(2)
        x = torch.randn(300_000) * torch.tensor(10.0) ** torch.randint(-6, 7, (300_000,))
        torch.save(x, sys.argv[1])
        print(repr(math.fsum(x.double().tolist())))
        """, [scratch.path("x.pt")])
      let rollcall = RollcallBinary(store: scratch.path("store"), directory: scratch.path)
      let json = try await rollcall("inspect", "x.pt", "--stats", "--json").json()
      let sum = try #require((json["tensors"] as? [[String: Any]])?.first?["sum"] as? Double)
      let exact = try #require(Double(oracle.output.trimmingCharacters(in: .whitespacesAndNewlines)))
      #expect(abs(sum - exact) <= 1e-12 * abs(exact), "\(sum), exactly \(exact)")
    }
  }

  @Test("a few bytes that claim to be a quintillion are shown and not read")
  func endlessViews() async throws {
    try await Scratch.with { scratch in
      try await runPython(
        """
        import sys, torch
        tensors = {f"t{i}": torch.ones(1).expand(1 << 58) for i in range(5)}
        tensors["none"] = torch.as_strided(torch.empty(0), (1 << 40, 0), (1 << 60, 1))
        tensors["last"] = torch.ones(2)
        torch.save(tensors, sys.argv[1] + "/a.pt")
        tensors["none"] = torch.as_strided(torch.empty(0), (1 << 39, 0), (1 << 60, 1))
        torch.save(tensors, sys.argv[1] + "/b.pt")
        """, [scratch.path])
      let rollcall = RollcallBinary(store: scratch.path("store"), directory: scratch.path)
      #expect(try await rollcall("inspect", "a.pt").status == 0)
      let outcome = try await rollcall("inspect", "a.pt", "--stats", "--json")
      #expect(outcome.status == 65)
      let tensors = try #require(try outcome.json()["tensors"] as? [[String: Any]])
      #expect(tensors.count == 7)
      #expect(tensors.last?["sum"] as? Double == 2)
      let schema = try await rollcall("schema", "a.pt", "b.pt", "--json")
      #expect(schema.status == 1)
      #expect((try schema.json()["unreadable"] as? [Any])?.count == 5)
    }
  }

  @Test("schema finds a shuffle, and the verdict is the exit code")
  func schemaNamesAShuffle() async throws {
    try await Scratch.with { scratch in
      try await runPython(
        """
        import sys, torch
        d = sys.argv[1]
        torch.manual_seed(1)
        w = torch.randint(0, 0x7F, (32, 128), dtype=torch.uint8)  # no NaN
        twice = w
        for name in ("b", "c"):
            twice = twice.view(2, 16, 4, 2, 16).permute(0, 2, 3, 1, 4).contiguous().view(32, 128)
            torch.save({"w": twice.view(torch.float8_e4m3fn)}, f"{d}/{name}.pt")
        torch.save({"w": w.view(torch.float8_e4m3fn)}, f"{d}/a.pt")
        """, [scratch.path])
      let rollcall = RollcallBinary(store: scratch.path("store"), directory: scratch.path)
      for (target, status, confidence) in [("b.pt", 2, "possible"), ("c.pt", 1, "certain")] {
        let outcome = try await rollcall("schema", "a.pt", target, "--json")
        #expect(outcome.status == status, "\(target): \(outcome.errorOutput)")
        let finding = try #require((try outcome.json()["findings"] as? [[String: Any]])?.first)
        #expect(finding["cause"] as? String == "weight-shuffle")
        #expect(finding["confidence"] as? String == confidence)
        #expect(finding["tensors"] as? [String] == ["w"])
      }
      #expect(try await rollcall("schema", "a.pt", "b.pt", "--values", "ignore").status == 0)
      #expect(try await rollcall("schema", "a.pt", "b.pt", "--values", "some").status == 64)
      let text = try await rollcall("schema", "a.pt", "c.pt")
      #expect(text.output.contains("certain weight-shuffle: w: the target holds these weights shuffled twice"))
      let missing = try await rollcall("schema", "a.pt", "none.pt", "--json")
      #expect(missing.status == 65)
      #expect(try missing.json()["error"] != nil)
    }
  }

  @Test("shuffled slices are read for their checksums, their order and their figures, and no more")
  func schemaReadsShuffledSlicesOnceAnEnd() async throws {
    try await Scratch.with { scratch in
      try await runPython(
        """
        import os, sys, torch
        w = torch.randint(0, 120, (4096, 2560), dtype=torch.uint8)
        def save(side, rank, size, tensor):
            os.makedirs(f"{sys.argv[1]}/{side}", exist_ok=True)
            tensors = {"w": tensor.contiguous().view(torch.float8_e4m3fn), "_tp_rank": rank, "_tp_size": size}
            torch.save(tensors, f"{sys.argv[1]}/{side}/weight_rank{rank}_layer0.pt")
        save("whole", 0, 1, w)
        for rank, part in enumerate(w.chunk(4)):
            save("parts", rank, 4, part.view(64, 16, 80, 2, 16).permute(0, 2, 3, 1, 4).reshape(1024, 2560))
        """, [scratch.path])
      // What the shell's children read counts as its own once they have ended.
      let script = #""$@" >schema.json; awk '/^rchar/ {print $2}' /proc/$$/io"#
      let outcome = try await runTool(
        "sh", ["-c", script, "sh", try RollcallBinary.path, "schema", "whole", "parts", "--json"],
        directory: scratch.path)
      #expect(scratch.text("schema.json")?.contains("\"weight-shuffle\"") == true)
      let read = try #require(Double(outcome.output.trimmingCharacters(in: .whitespacesAndNewlines)))
      let passes = read / Double(2 * 4096 * 2560)
      #expect(passes > 2 && passes < 4, "\(passes)")
    }
  }

  @Test("long work says how far it is on a terminal, and nowhere else")
  func progress() async throws {
    try await Scratch.with { scratch in
      try await runPython(
        """
        import sys, torch
        for name in ("a", "b"):
            torch.save({"w": torch.zeros(2 << 20, dtype=torch.uint8)}, f"{sys.argv[1]}/{name}.pt")
        """, [scratch.path])
      let rollcall = RollcallBinary(store: scratch.path("store"), directory: scratch.path)
      #expect(try await rollcall("inspect", "a.pt", "--stats").errorOutput.isEmpty)
      let onTerminal = try await runPython(
        """
        import os, pty, sys
        # Standard output stays a pipe; standard error is a terminal.
        master, slave = pty.openpty()
        pid = os.fork()
        if pid == 0:
            os.dup2(slave, 2)
            os.close(master)
            os.execv(sys.argv[1], sys.argv[1:])
        os.close(slave)
        seen = b""
        while True:
            try:
                block = os.read(master, 4096)
            except OSError:
                break
            if not block:
                break
            seen += block
        os.waitpid(pid, 0)
        sys.stderr.buffer.write(seen)
        """, [try RollcallBinary.path, "inspect", scratch.path("a.pt"), "--stats", "--json"])
      #expect(onTerminal.errorOutput.contains("of 2.1 MB ("))
      #expect(onTerminal.errorOutput.hasSuffix("\r\u{1B}[K"), "the line is taken away")
      #expect(onTerminal.output.hasPrefix("{"))
    }
  }
}
