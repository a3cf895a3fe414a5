"""What is written instead about precision: autocast, scaling, TF32."""
