// Runs a module of dcc on a device without Python.
//
//   runner MODULE.so [-o FOLDER] [-n REPEATS] [INPUT.npy ...]
//
// Inputs in the order of the model's; outputs go to FOLDER/output_0.npy, output_1.npy, ... With -n the
// model runs so often after a first time, and the median time is printed. Needs the headers and the
// library of tvm-ffi and TVM's runtime library, nothing else:
//
//   c++ -std=c++17 -O2 runner.cc -I include -L lib -ltvm_ffi -Wl,--no-as-needed -ltvm_runtime
//       -Wl,-rpath,'$ORIGIN/lib' -o runner

#include <tvm/ffi/container/array.h>
#include <tvm/ffi/container/tensor.h>
#include <tvm/ffi/extra/module.h>
#include <tvm/ffi/function.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iostream>
#include <stdexcept>
#include <string>
#include <vector>

namespace ffi = tvm::ffi;

namespace {

// Names of numpy's types and those of DLPack; both are little-endian here.
struct TypeName {
  const char* numpy;
  DLDataType dlpack;
};

const TypeName kTypes[] = {
    {"<f4", {kDLFloat, 32, 1}}, {"<f8", {kDLFloat, 64, 1}}, {"<f2", {kDLFloat, 16, 1}},
    {"<i8", {kDLInt, 64, 1}},   {"<i4", {kDLInt, 32, 1}},   {"<i2", {kDLInt, 16, 1}},
    {"|i1", {kDLInt, 8, 1}},    {"<u8", {kDLUInt, 64, 1}},  {"<u4", {kDLUInt, 32, 1}},
    {"<u2", {kDLUInt, 16, 1}},  {"|u1", {kDLUInt, 8, 1}},   {"|b1", {kDLBool, 8, 1}},
};

// Kernels assume aligned data, and may read the last vector of an input whole.
struct AlignedMemory {
  void AllocData(DLTensor* tensor) {
    size_t size = (ffi::GetDataSize(*tensor) / 64 + 2) * 64;
    tensor->data = std::aligned_alloc(64, size);
    if (tensor->data == nullptr) throw std::runtime_error("out of memory");
  }
  void FreeData(DLTensor* tensor) { std::free(tensor->data); }
};

[[noreturn]] void Fail(const std::string& file, const std::string& fault) {
  throw std::runtime_error("'" + file + "' " + fault + ": save it with numpy.save");
}

// Value of a key of the header: the text behind "'key':".
std::string Field(const std::string& header, const std::string& key, const std::string& file) {
  size_t place = header.find("'" + key + "':");
  if (place == std::string::npos) Fail(file, "is no .npy file (no field '" + key + "')");
  place = header.find_first_not_of(' ', place + key.size() + 3);
  return place == std::string::npos ? "" : header.substr(place);
}

std::ifstream Open(const std::string& file) {
  std::ifstream stream(file, std::ios::binary);
  if (!stream) throw std::runtime_error("there is no file '" + file + "'");
  return stream;
}

bool Ended(std::istream& stream) { return stream.peek() == std::char_traits<char>::eof(); }

// The next array of a file, which may hold several, one behind another.
ffi::Tensor ReadNpy(std::istream& stream, const std::string& file) {
  unsigned char start[12] = {};
  stream.read(reinterpret_cast<char*>(start), 10);
  if (!stream || std::memcmp(start, "\x93NUMPY", 6) != 0) Fail(file, "is no .npy file");
  size_t length = start[8] | start[9] << 8;
  if (start[6] > 1) {
    stream.read(reinterpret_cast<char*>(start + 10), 2);
    length |= static_cast<size_t>(start[10]) << 16 | static_cast<size_t>(start[11]) << 24;
  }
  if (!stream || length > (1u << 20)) Fail(file, "is damaged (header)");
  std::string header(length, '\0');
  stream.read(header.data(), static_cast<std::streamsize>(length));
  if (!stream) Fail(file, "is truncated");
  if (Field(header, "fortran_order", file).rfind("False", 0) != 0) {
    Fail(file, "is in Fortran order");
  }
  std::string name = Field(header, "descr", file).substr(1, 3);
  const TypeName* type = nullptr;
  for (const TypeName& each : kTypes) {
    if (name == each.numpy) type = &each;
  }
  if (type == nullptr) Fail(file, "has elements of type '" + name + "', which no input has");
  std::vector<int64_t> shape;
  std::string text = Field(header, "shape", file);
  size_t end = text.find(')');
  if (text.empty() || text[0] != '(' || end == std::string::npos) Fail(file, "has no shape");
  for (size_t at = 1; at < end;) {
    size_t digit = text.find_first_of("0123456789", at);
    if (digit >= end) break;
    char* after = nullptr;
    shape.push_back(std::strtoll(text.c_str() + digit, &after, 10));
    at = static_cast<size_t>(after - text.c_str());
  }
  auto tensor = ffi::Tensor::FromNDAlloc(AlignedMemory(), ffi::ShapeView(shape.data(), shape.size()),
                                         type->dlpack, DLDevice{kDLCPU, 0});
  auto size = static_cast<std::streamsize>(ffi::GetDataSize(tensor));
  stream.read(static_cast<char*>(tensor.data_ptr()), size);
  if (stream.gcount() != size) Fail(file, "is truncated");
  return tensor;
}

void WriteNpy(std::ostream& stream, const std::string& file, const ffi::Tensor& tensor) {
  DLDataType dtype = tensor.dtype();
  const char* name = nullptr;
  for (const TypeName& each : kTypes) {
    if (each.dlpack.code == dtype.code && each.dlpack.bits == dtype.bits) name = each.numpy;
  }
  if (name == nullptr || dtype.lanes != 1) {
    throw std::runtime_error("an output has a type that .npy files lack");
  }
  std::string shape;
  for (int64_t size : tensor.shape()) shape += std::to_string(size) + ", ";
  std::string header = std::string("{'descr': '") + name +
                       "', 'fortran_order': False, 'shape': (" + shape + "), }";
  header.append(63 - (header.size() + 10) % 64, ' ');
  header += '\n';
  stream.write("\x93NUMPY\x01\x00", 8);
  stream.put(static_cast<char>(header.size() & 0xff));
  stream.put(static_cast<char>(header.size() >> 8));
  stream << header;
  stream.write(static_cast<const char*>(tensor.data_ptr()),
               static_cast<std::streamsize>(ffi::GetDataSize(tensor)));
  stream.flush();
  if (!stream) throw std::runtime_error("cannot write '" + file + "'");
}

ffi::Function Get(const ffi::Module& module, const char* name) {
  ffi::Optional<ffi::Function> found = module->GetFunction(name);
  if (!found.has_value()) {
    throw std::runtime_error(std::string("the module lacks the function '") + name +
                             "': compile it with 'dcc compile'");
  }
  return found.value();
}

ffi::Module VirtualMachine(const std::string& file) {
  // A name without a slash would be looked for among the system's libraries.
  std::string path = file.find('/') == std::string::npos ? "./" + file : file;
  ffi::Module library = ffi::Module::LoadFromFile(path);
  ffi::Module machine = Get(library, "vm_load_executable")().cast<ffi::Module>();
  const int kPooled = 2;
  Get(machine, "vm_initialization")(static_cast<int>(kDLCPU), 0, kPooled);
  // Weights that are kept compressed but computed with as they were.
  ffi::Optional<ffi::Function> decode = machine->GetFunction("decode");
  if (decode.has_value()) decode.value()();
  return machine;
}

std::vector<ffi::Tensor> Results(const ffi::Any& result) {
  if (auto one = result.as<ffi::Tensor>()) return {one.value()};
  std::vector<ffi::Tensor> tensors;
  for (const ffi::Any& each : result.cast<ffi::Array<ffi::Any>>()) {
    tensors.push_back(each.cast<ffi::Tensor>());
  }
  return tensors;
}

struct Options {
  std::string module;
  std::string folder = ".";
  int repeats = 0;
  std::vector<std::string> inputs;
};

Options ReadOptions(int count, char** arguments) {
  Options options;
  for (int number = 1; number < count; ++number) {
    std::string word = arguments[number];
    bool valued = word == "-o" || word == "-n";
    if (valued && number + 1 == count) throw std::runtime_error(word + " lacks its value");
    if (word == "-o") {
      options.folder = arguments[++number];
    } else if (word == "-n") {
      options.repeats = std::max(std::atoi(arguments[++number]), 0);
    } else if (options.module.empty()) {
      options.module = word;
    } else {
      options.inputs.push_back(word);
    }
  }
  if (options.module.empty()) {
    throw std::runtime_error("usage: runner MODULE.so [-o FOLDER] [-n REPEATS] [INPUT.npy ...]");
  }
  return options;
}

// Of the calls that follow each first one, for -n.
void PrintMedian(std::vector<double> times) {
  if (times.empty()) return;
  std::sort(times.begin(), times.end());
  std::printf("median of %zu runs: %.4f ms\n", times.size(), times[times.size() / 2]);
}

std::vector<ffi::Tensor> Call(const ffi::Function& function, const std::vector<ffi::Any>& inputs,
                              int repeats, std::vector<double>* times) {
  std::vector<ffi::AnyView> views(inputs.begin(), inputs.end());
  ffi::Any result;
  auto call = [&] {
    function.CallPacked(views.data(), static_cast<int32_t>(views.size()), &result);
  };
  call();
  for (int number = 0; number < repeats; ++number) {
    auto begin = std::chrono::steady_clock::now();
    call();
    std::chrono::duration<double, std::milli> elapsed = std::chrono::steady_clock::now() - begin;
    times->push_back(elapsed.count());
  }
  return Results(result);
}

// Runs the model once for each array of the first input's file; outputs go the same way.
void Run(const Options& options) {
  ffi::Module machine = VirtualMachine(options.module);
  ffi::Function main_function = Get(machine, "main");
  std::vector<std::ifstream> files;
  for (const std::string& file : options.inputs) files.push_back(Open(file));
  std::vector<std::ofstream> outputs;
  std::vector<std::string> names;
  std::vector<double> times;
  do {
    std::vector<ffi::Any> inputs;
    for (size_t number = 0; number < files.size(); ++number) {
      inputs.emplace_back(ReadNpy(files[number], options.inputs[number]));
    }
    std::vector<ffi::Tensor> tensors = Call(main_function, inputs, options.repeats, &times);
    for (size_t number = 0; number < tensors.size(); ++number) {
      if (number == outputs.size()) {
        names.push_back(options.folder + "/output_" + std::to_string(number) + ".npy");
        outputs.emplace_back(names.back(), std::ios::binary);
      }
      WriteNpy(outputs[number], names[number], tensors[number]);
    }
  } while (!files.empty() && !Ended(files[0]));
  PrintMedian(times);
  for (const std::string& name : names) std::printf("%s\n", name.c_str());
}

}  // namespace

int main(int count, char** arguments) {
  try {
    Run(ReadOptions(count, arguments));
  } catch (const ffi::Error& error) {
    std::cerr << "error: " << error.kind() << ": " << error.message() << "\n";
    return 2;
  } catch (const std::exception& error) {
    std::cerr << "error: " << error.what() << "\n";
    return 2;
  }
  return 0;
}
