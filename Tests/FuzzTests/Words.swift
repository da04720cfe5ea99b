/// Opcodes with their first bytes, and the names that the unpickler gives a meaning to.
let pickleWords: [[UInt8]] = {
  let opcodes =
    Array("()0122QRbcehjlqrstux}]dagKMJGXUCTBN.".utf8) + [
      0x80, 0x81, 0x82, 0x85, 0x86, 0x87, 0x88, 0x89, 0x8A, 0x8B, 0x8C, 0x8D, 0x8E, 0x8F, 0x90, 0x91, 0x92, 0x93, 0x94,
      0x95, 0x96, 0x97, 0x98,
    ]
  let globals = [
    "torch._utils _rebuild_tensor_v2", "torch._utils _rebuild_tensor_v3", "torch._utils _rebuild_parameter",
    "torch._utils _rebuild_parameter_with_state", "torch._tensor _rebuild_from_type_v2", "collections OrderedDict",
    "torch Size", "torch device", "torch float32", "torch FloatStorage", "torch.storage UntypedStorage",
    "_codecs encode", "__builtin__ set", "numpy._core.multiarray scalar",
    "numpy._core.multiarray _reconstruct", "numpy._core.numeric _frombuffer", "numpy dtype", "numpy ndarray",
    "os system", "builtins eval",
  ]
  return opcodes.map { [$0] } + globals.map { Array("c\($0.replacing(" ", with: "\n"))\n".utf8) }
    + [
      Array("(lq\0h\0a".utf8), Array("q\0h\0h\0\u{86}".utf8), [0x8B, 0xFF, 0xFF, 0xFF, 0x7F],
      [0x8D, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x7F], [0x8A, 8, 0, 0, 0, 0, 0, 0, 0, 0x80],
      Array("X".utf8) + [0xFF, 0xFF, 0xFF, 0xFF], Array("r".utf8) + [0xFF, 0xFF, 0xFF, 0xFF],
      [0x8A, 8, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x7F], Array("J".utf8) + [0, 0, 0, 0x80],
    ]
}()

let zipSignatures: [[UInt8]] = [
  [0x50, 0x4B, 1, 2], [0x50, 0x4B, 3, 4], [0x50, 0x4B, 5, 6], [0x50, 0x4B, 6, 6], [0x50, 0x4B, 6, 7],
  [0x50, 0x4B, 7, 8], Array("data.pkl".utf8), Array("data/0".utf8), [1, 0, 16, 0],
]

/// What YAML, templates, durations and cron give a meaning to.
let yamlWords: [[UInt8]] = [
  "&a ", "*a", "<<: *a", "&a [*a, *a]", "[", "]", "{", "}", "[[[[[[[[", "{a: {a: {a: {a: ", "- ", "? ", ": ", "#",
  "|\n",
  ">-\n", "\"", "'", "\t", "---\n", "...\n", "%YAML 1.2\n", "!!binary ", "!!python/object:os.system ", "~", "null",
  "true", "${{ world_size }}", "${{ ", "}}", "${{", "${{ rank }}", "${{ dump_dir }}", "${{ matrix.backend }}", "$(",
  "${", "`", "\\", "0", "-1", "1e999", ".nan", "0x7fffffffffffffff", "9223372036854775807", "9223372036854775808",
  "99999999999999999999999", "1-1000000000", "3-1", "0-9223372036854775807", "*/0 * * * *", "30 2 * * *",
  "60 24 32 13 8", "0 0 30 2 *", "1-5/0 * * * *", "10m", "99999999999999999h", "-5m", "1d", "Europe/Berlin",
  "Mars/Olympus", "../../etc/passwd", "/dev/zero", "/", "", "\u{FEFF}", "\u{202E}", "\u{0}", "é", "👩‍👩‍👧‍👦",
  "matrix:", "repeat: 1000000000", "repeat:", "exclude:", "include:", "world_size: [1, 2, 8]",
  "a: [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]", "run:", "command:", "services:", "files: [/, .., ~]", "expect:", "shard:",
].map { Array($0.utf8) }

/// A job file with the keys that the examples under `Jobs/` leave out.
let jobSeeds = [
  """
  name: all
  matrix:
    world_size: [1, 2, 8]
    backend: [eager, compile]
    exclude: [{world_size: 8, backend: compile}]
    include: [{world_size: 4, backend: eager}]
  repeat: 2
  run:
    command: python3 x.py --nproc ${{ world_size }} --backend ${{ backend }}
    env: {A: "1", DIR: "${{ dump_dir }}"}
    gpus: ${{ world_size }}
    timeout: 30m
  dumps: {layout: atom, slots: 4, select: prefill}
  compare:
    reference: {world_size: 1}
    noise: measured
    shard: {Block: replicated, MoE: partial, QKV: {axis: 1}}
  """
]

let fleetSeeds = [
  """
  hosts:
    - name: a
      ssh: a.example
      gpus: 8
      labels: {gpu: mi300x, rack: "7"}
      env: {HIP_VISIBLE_DEVICES: "0"}
      workdir: /data/rollcall
      lease_dir: /tmp/leases
    - {name: here, local: true, gpus: auto}
  ssh_config: ssh/config
  """,
  "hosts: [{name: here, local: true, workdir: /w, lease_dir: /l}]",
]
